import { useState } from 'preact/hooks';
import { data, iot, seg } from '../../lib/api';
import { to } from '../../lib/router';
import { Button, Card, Dialog, Fact, Facts, Note, Problem, Value, toast, useAction, useLoad } from '../../ui/all';
import type { Description } from '../thing';

export function Overview({ thing, reload }: { thing: Description; reload: () => void }) {
  const name = thing.thingName;
  const groups = useLoad(() => iot.get<{ thingGroups: { groupName: string }[] }>(`/things/${seg(name)}/thing-groups`, { maxResults: 100 }), [name]);
  const shadows = useLoad(() => data.get<{ results: string[] }>(`/api/things/shadow/ListNamedShadowsForThing/${seg(name)}`), [name]);
  const [editing, setEditing] = useState(false);
  const attributes = Object.entries(thing.attributes ?? {}).sort();
  return (
    <div class="split">
      <Card title="Thing">
        <Facts>
          <Fact name="ARN"><Value text={thing.thingArn} what="the ARN" /></Fact>
          <Fact name="Type">{thing.thingTypeName ?? <span class="muted">none</span>}</Fact>
          <Fact name="Groups">{groups.value?.thingGroups.length ? groups.value.thingGroups.map((g) => g.groupName).join(', ') : <span class="muted">none</span>}</Fact>
          <Fact name="Named shadows">{shadows.value?.results.length ? shadows.value.results.map((s, i) => <>{i > 0 && ', '}<a href={to(['things', name], { tab: 'shadow', shadow: s })}>{s}</a></>) : <span class="muted">none</span>}</Fact>
          <Fact name="Version">{thing.version}</Fact>
        </Facts>
        {groups.error ? <Problem error={groups.error} /> : null}
      </Card>
      <Card title="Attributes" actions={<Button changes onClick={() => setEditing(true)}>Edit</Button>}>
        {attributes.length ? <Facts>{attributes.map(([k, v]) => <Fact key={k} name={k}>{v}</Fact>)}</Facts>
          : <p class="muted">No attributes yet. They hold what does not change by itself, such as the room or the hardware revision, and things are found by them.</p>}
      </Card>
      {editing && <Attributes thing={thing} close={() => setEditing(false)} done={reload} />}
    </div>
  );
}

function Attributes({ thing, close, done }: { thing: Description; close: () => void; done: () => void }) {
  const [rows, setRows] = useState<[string, string][]>([...Object.entries(thing.attributes ?? {}), ['', '']]);
  const { act, busy, error } = useAction(async () => {
    const attributes: Record<string, string> = {};
    for (const k of Object.keys(thing.attributes ?? {})) attributes[k] = '';
    for (const [k, v] of rows) if (k) attributes[k] = v;
    await iot.patch(`/things/${seg(thing.thingName)}`, { attributePayload: { attributes, merge: true }, expectedVersion: thing.version });
    toast('Attributes saved');
    done();
    close();
  });
  const set = (i: number, k: string, v: string) => {
    const next = rows.map((r, n) => (n === i ? [k, v] : r)) as [string, string][];
    if (next[next.length - 1][0]) next.push(['', '']);
    setRows(next);
  };
  return (
    <Dialog title={`Attributes of ${thing.thingName}`} close={close} actions={<><Button onClick={close}>Cancel</Button><Button kind="primary" busy={busy} onClick={() => void act()}>Save</Button></>}>
      <div class="stack">
        {rows.map(([k, v], i) => (
          <div class="pair" key={i}>
            <input aria-label={`Name ${i + 1}`} placeholder="name" value={k} spellcheck={false} onInput={(e) => set(i, e.currentTarget.value, v)} />
            <input aria-label={`Value ${i + 1}`} placeholder="value" value={v} dir="auto" onInput={(e) => set(i, k, e.currentTarget.value)} />
          </div>
        ))}
      </div>
      <Note>Letters, digits and _.,@/:#- in names and values; an empty value removes an attribute.</Note>
      {error ? <Problem error={error} /> : null}
    </Dialog>
  );
}
