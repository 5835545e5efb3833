import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { iot, seg } from '../lib/api';
import { place, setQuery, to } from '../lib/router';
import { Things, detachAll, enableIndex, gone, indexed, removeThing, toQuery } from '../lib/things';
import type { Row } from '../lib/things';
import { ago, disconnectWords, number } from '../lib/text';
import { Button, Card, Dialog, Empty, Field, Icon, List, Loading, Note, Page, Problem, say, toast, useAction, useLoad } from '../ui/all';
import type { PageProps } from './table';
import Thing from './thing';

export default function ThingsPage({ path }: PageProps) {
  return path.length ? <Thing path={path} /> : <ThingList />;
}

const columnKey = 'berth-things-columns';

function storedColumns(): string[] {
  try {
    const c = JSON.parse(localStorage.getItem(columnKey) ?? '[]');
    return Array.isArray(c) ? c.filter((x) => typeof x === 'string').slice(0, 8) : [];
  } catch {
    return [];
  }
}

function ThingList() {
  const { value: hasIndex, error, reload } = useLoad(() => indexed(), []);
  if (error) return <Problem error={error} retry={reload} />;
  if (hasIndex === undefined) return <Loading what="Loading things" />;
  return <Listing hasIndex={hasIndex} reload={reload} />;
}

function Listing({ hasIndex, reload }: { hasIndex: boolean; reload: () => void }) {
  const asked = place.value.query.get('q') ?? '';
  const [text, setText] = useState(asked);
  const [columns, setColumns] = useState(storedColumns);
  const [choosing, setChoosing] = useState(false);
  const [chosen, setChosen] = useState<Set<string>>(new Set());
  const [turn, setTurn] = useState(0);
  const mode = hasIndex ? 'index' : 'registry';
  const search = useMemo(() => new Things(mode, toQuery(asked), columns), [mode, asked, columns.join('\n'), turn]);
  useEffect(() => () => search.stop(), [search]);
  const timer = useRef<number>();
  const type = (s: string) => {
    setText(s);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      setChosen(new Set());
      setQuery({ q: s.trim() || undefined });
    }, 250);
  };
  const rows = search.rows;
  const size = search.size.value;
  const total = search.done.value ? size : Math.max(search.total.value ?? 0, size);
  useEffect(() => {
    if (search.done.value || search.total.value !== undefined) say(`${total} things`);
  }, [total]);
  const again = () => {
    setChosen(new Set());
    setTurn((n) => n + 1);
  };
  const failure = search.error.value;
  const toggle = (name: string) => {
    const next = new Set(chosen);
    if (!next.delete(name)) next.add(name);
    setChosen(next);
  };
  const allLoaded = rows.length > 0 && chosen.size >= rows.length;
  return (
    <Page title="Things" lead={search.done.value || search.total.value !== undefined ? `${number(total)} ${asked ? 'found' : 'in the registry'}` : ' '}
      actions={<a class="button primary" href={to(['start'])}><Icon name="plus" size={18} /><span>New device</span></a>}>
      {!hasIndex && <EnableIndex done={reload} />}
      <Card tight>
        <div class="toolbar">
          <div class="search grow">
            <Icon name="search" />
            <input type="search" data-search aria-label="Search things" value={text} disabled={!hasIndex} spellcheck={false} autocomplete="off" maxLength={1000}
              placeholder={hasIndex ? 'kettle, or connectivity.connected:true AND attributes.room:kitchen' : 'Turn the fleet index on to search'} onInput={(e) => type(e.currentTarget.value)} />
            <kbd aria-hidden="true">/</kbd>
          </div>
          <Button icon="columns" onClick={() => setChoosing(true)} disabled={!hasIndex}>Columns</Button>
          <Button icon="refresh" class="square" aria-label="Load again" onClick={again} />
        </div>
        {chosen.size > 0 && <Bulk names={[...chosen]} clear={() => setChosen(new Set())} done={again} />}
        {failure ? <div class="pad"><Problem error={failure} retry={again} /></div>
          : search.done.value && !rows.length ? <Nothing asked={asked} clear={() => type('')} />
          : (
            <List label="Things" count={total} seen={(_, end) => search.want(end + 300)} rowKey={(i) => rows[i]?.name ?? i} rowClass={(i) => (rows[i] && chosen.has(rows[i].name) ? 'chosen' : undefined)}
              columns={[
                { key: 'choose', label: 'Choose', width: '40px', title: <input type="checkbox" aria-label="Choose all that are loaded" checked={allLoaded} onChange={() => setChosen(allLoaded ? new Set() : new Set(rows.map((r) => r.name)))} /> },
                { key: 'name', title: 'Name', width: 'minmax(180px, 2fr)' },
                { key: 'state', title: 'Connection', width: 'minmax(150px, 1.2fr)' },
                { key: 'type', title: 'Type', width: 'minmax(90px, 1fr)' },
                { key: 'groups', title: 'Groups', width: 'minmax(90px, 1fr)' },
                ...columns.map((c) => ({ key: c, title: short(c), label: c, width: 'minmax(90px, 1fr)' })),
              ]}
              row={(i) => (rows[i] ? cells(rows[i], chosen, toggle, mode === 'index') : undefined)} />
          )}
      </Card>
      {choosing && <Columns fields={[...search.fields].sort()} current={columns} close={() => setChoosing(false)} choose={(c) => {
        setColumns(c);
        try {
          localStorage.setItem(columnKey, JSON.stringify(c));
        } catch {
          // for this visit then
        }
      }} />}
    </Page>
  );
}

const short = (field: string) => field.replace(/^attributes\.|^shadow\./, '');

function cells(r: Row, chosen: Set<string>, toggle: (n: string) => void, live: boolean) {
  return [
    <input type="checkbox" aria-label={`Choose ${r.name}`} checked={chosen.has(r.name)} onChange={() => toggle(r.name)} />,
    <a href={to(['things', r.name])} dir="auto" title={r.name}>{r.name}</a>,
    !live ? <span class="muted">–</span> : r.connected ? <span class="inline nowrap"><span class="dot good" /> connected</span>
      : r.since ? <span class="inline nowrap" title={r.why ? `It left because ${disconnectWords[r.why] ?? r.why}` : undefined}><span class="dot" /> <span class="muted">left {ago(r.since)}</span></span>
      : <span class="inline nowrap"><span class="dot" /> <span class="muted">never seen</span></span>,
    <span dir="auto">{r.type ?? ''}</span>,
    <span dir="auto">{r.groups?.join(', ') ?? ''}</span>,
    ...r.extra.map((v) => <span dir="auto" title={v}>{v.slice(0, 200)}</span>),
  ];
}

function EnableIndex({ done }: { done: () => void }) {
  const { act, busy, error } = useAction(enableIndex);
  return (
    <Note title="Turn the fleet index on to search" actions={<Button kind="primary" busy={busy} changes onClick={async () => { if (await act()) { toast('The fleet index is on'); done(); } }}>Turn it on</Button>}>
      It finds things by name, attributes, groups, shadow values and whether they are connected, and costs some 600 bytes of memory a thing. AWS has it off at first too.
      {error ? <Problem error={error} /> : null}
    </Note>
  );
}

function Nothing({ asked, clear }: { asked: string; clear: () => void }) {
  if (asked) {
    return (
      <Empty icon="search" title="No thing matches" actions={<Button onClick={clear}>Show all things</Button>}>
        Examples: <code>thingName:kettle*</code>, <code>attributes.room:kitchen</code>, <code>shadow.reported.temperature &gt; 30</code>, <code>connectivity.connected:false</code>, combined with <code>AND</code>, <code>OR</code>, <code>NOT</code>.
      </Empty>
    );
  }
  return (
    <Empty icon="things" title="No things yet" actions={<a class="button primary" href={to(['start'])}>Connect your first device</a>}>
      A thing stands for a device: its name, attributes, certificates and shadow. Make the first one here, with <code>berth thing create</code>, or let the factory station and provisioning templates make them.
    </Empty>
  );
}

function Columns({ fields, current, choose, close }: { fields: string[]; current: string[]; choose: (c: string[]) => void; close: () => void }) {
  const [mine, setMine] = useState(current);
  const every = [...new Set([...current, ...fields])];
  const [own, setOwn] = useState('');
  return (
    <Dialog title="Columns" close={close} actions={<>
      <Button onClick={close}>Cancel</Button>
      <Button kind="primary" onClick={() => {
        choose(own.trim() && !mine.includes(own.trim()) ? [...mine, own.trim()] : mine);
        close();
      }}>Show</Button>
    </>}>
      <p class="muted">Attributes and shadow values of the things on this page, up to eight.</p>
      <fieldset class="columns">
        <legend class="visually-hidden">Columns to show</legend>
        {every.length ? every.map((f) => (
          <label class="check" key={f}>
            <input type="checkbox" checked={mine.includes(f)} disabled={!mine.includes(f) && mine.length >= 8} onChange={() => setMine(mine.includes(f) ? mine.filter((x) => x !== f) : [...mine, f])} />
            <span dir="auto">{f}</span>
          </label>
        )) : <p class="muted">These things have no attributes and no shadows.</p>}
      </fieldset>
      <Field label="Another field" hint="Such as attributes.room or shadow.reported.wifi.rssi">
        {(a) => <input {...a} value={own} spellcheck={false} onInput={(e) => setOwn(e.currentTarget.value)} />}
      </Field>
    </Dialog>
  );
}

function Bulk({ names, clear, done }: { names: string[]; clear: () => void; done: () => void }) {
  const [asking, setAsking] = useState<'group' | 'detach' | 'delete' | undefined>();
  return (
    <div class="bulk" role="region" aria-label="Chosen things">
      <strong>{number(names.length)} chosen</strong>
      <Button icon="plus" changes onClick={() => setAsking('group')}>Add to group</Button>
      <Button icon="key" changes onClick={() => setAsking('detach')}>Detach certificates</Button>
      <Button icon="trash" kind="danger" changes onClick={() => setAsking('delete')}>Delete</Button>
      <Button kind="quiet" onClick={clear}>Clear</Button>
      {asking === 'group' && <AddToGroup names={names} close={() => setAsking(undefined)} done={done} />}
      {asking === 'detach' && <Each names={names} title="Detach certificates" verb="Detach" close={() => setAsking(undefined)} done={done} run={detachAll}>
        The certificates stay in the registry, but the things lose them: devices that use them can no longer use what their policies allow to an attached thing.
      </Each>}
      {asking === 'delete' && <Each names={names} title="Delete things" verb="Delete" close={() => setAsking(undefined)} done={done} run={removeThing}>
        Their certificates are detached first and stay in the registry. Shadows and job executions of deleted things are gone. This cannot be undone.
      </Each>}
    </div>
  );
}

/** Each runs something for many things, four at a time, and tells which failed. */
function Each({ names, title, verb, run, close, done, ready = true, children }: { names: string[]; title: string; verb: string; ready?: boolean; run: (name: string) => Promise<unknown>; close: () => void; done: () => void; children: preact.ComponentChildren }) {
  const [at, setAt] = useState<number | undefined>();
  const [failed, setFailed] = useState<{ name: string; error: string }[]>([]);
  const stop = useRef(false);
  const finish = () => {
    stop.current = true;
    close();
    if (at !== undefined) done();
  };
  const start = async () => {
    setAt(0);
    const bad: typeof failed = [];
    let next = 0;
    let ready = 0;
    await Promise.all(Array.from({ length: 4 }, async () => {
      while (next < names.length && !stop.current) {
        const name = names[next++];
        try {
          await run(name);
        } catch (e) {
          if (!gone(e)) bad.push({ name, error: (e as Error).message });
        }
        setAt(++ready);
      }
    }));
    setFailed(bad);
    if (!bad.length && !stop.current) {
      toast(`${verb === 'Delete' ? 'Deleted' : verb === 'Detach' ? 'Detached' : 'Added'} ${number(names.length)} things`);
      close();
      done();
    }
  };
  return (
    <Dialog title={title} close={finish} actions={<>
      <Button onClick={finish} data-autofocus>{at === undefined ? 'Cancel' : 'Close'}</Button>
      {at === undefined && <Button kind={verb === 'Add' ? 'primary' : 'danger'} disabled={!ready} onClick={() => void start()}>{verb} {number(names.length)}</Button>}
    </>}>
      <div>{children}</div>
      {at === undefined ? <p class="hint names">{names.slice(0, 12).join(', ')}{names.length > 12 ? `, and ${number(names.length - 12)} more` : ''}</p>
        : <div role="status"><progress value={at} max={names.length} aria-label="Progress" /> {number(at)} of {number(names.length)}</div>}
      {failed.length > 0 && <Note tone="bad" title={`${failed.length} failed`}>{failed.slice(0, 5).map((f) => <div key={f.name}>{f.name}: {f.error}</div>)}</Note>}
    </Dialog>
  );
}

function AddToGroup({ names, close, done }: { names: string[]; close: () => void; done: () => void }) {
  const { value } = useLoad(() => iot.get<{ thingGroups: { groupName: string }[] }>('/thing-groups', { maxResults: 250 }), []);
  const [group, setGroup] = useState('');
  const groups = value?.thingGroups.map((g) => g.groupName) ?? [];
  const making = useRef<Promise<unknown>>();
  return (
    <Each names={names} title="Add to group" verb="Add" close={close} done={done} ready={!!group && !!value} run={async (thingName) => {
      if (!groups.includes(group)) await (making.current ??= iot.post(`/thing-groups/${seg(group)}`, {}));
      await iot.put('/thing-groups/addThingToThingGroup', { thingGroupName: group, thingName });
    }}>
      <Field label="Group" hint="A name that is not there yet makes a new group.">
        {(a) => <><input {...a} list="groups" value={group} spellcheck={false} data-autofocus onInput={(e) => setGroup(e.currentTarget.value.trim())} /><datalist id="groups">{groups.map((g) => <option key={g} value={g} />)}</datalist></>}
      </Field>
    </Each>
  );
}
