import { useEffect, useState } from 'preact/hooks';
import { ApiError, data, isAdmin, seg } from '../../lib/api';
import { watch } from '../../lib/live';
import { place, setQuery } from '../../lib/router';
import { change, lines, readTree, show } from '../../lib/shadow';
import type { Document } from '../../lib/shadow';
import { moment, pretty, visible } from '../../lib/text';
import { Badge, Button, Card, Confirm, Dialog, Editor, Empty, Field, Loading, Problem, When, say, toast, useAction, useLoad } from '../../ui/all';

const classic = ''; // the name of the shadow without one

export function Shadows({ thing }: { thing: string }) {
  const name = place.value.query.get('shadow') ?? classic;
  const named = useLoad(() => data.get<{ results: string[] }>(`/api/things/shadow/ListNamedShadowsForThing/${seg(thing)}`, { pageSize: 100 }), [thing]);
  const [adding, setAdding] = useState(false);
  const names = [classic, ...new Set([...(named.value?.results ?? []), ...(name ? [name] : [])])];
  return (
    <>
      <div class="inline" role="group" aria-label="Shadow">
        {names.map((n) => <Button key={n} aria-pressed={n === name} onClick={() => setQuery({ shadow: n || undefined })}>{n || 'Classic shadow'}</Button>)}
        <Button kind="quiet" icon="plus" changes onClick={() => setAdding(true)}>Named shadow</Button>
      </div>
      <Shadow key={thing + '/' + name} thing={thing} name={name} listChanged={named.reload} />
      {adding && <NewShadow taken={names} close={() => setAdding(false)} />}
    </>
  );
}

function NewShadow({ taken, close }: { taken: string[]; close: () => void }) {
  const [name, setName] = useState('');
  const bad = name && !/^[$a-zA-Z0-9:_-]{1,64}$/.test(name) ? 'Use up to 64 letters, digits, and : _ - $.' : taken.includes(name) && name ? 'There is one of this name.' : '';
  return (
    <Dialog title="Named shadow" close={close} actions={<><Button onClick={close}>Cancel</Button><Button kind="primary" disabled={!name || !!bad} onClick={() => { setQuery({ shadow: name }); close(); }}>Continue</Button></>}>
      <Field label="Name" error={bad} hint="It begins to exist with its first state, from here or from the device.">
        {(a) => <input {...a} value={name} data-autofocus spellcheck={false} onInput={(e) => setName(e.currentTarget.value.trim())} />}
      </Field>
    </Dialog>
  );
}

function Shadow({ thing, name, listChanged }: { thing: string; name: string; listChanged: () => void }) {
  const path = `/things/${seg(thing)}/shadow`;
  const query = { name: name || undefined };
  const [doc, setDoc] = useState<Document>();
  const [editing, setEditing] = useState(false);
  const [deleting, setDeleting] = useState(false);
  const loaded = useLoad(async () => {
    try {
      return await data.get<Document>(path, query);
    } catch (e) {
      if (e instanceof ApiError && e.status === 404) return {} as Document;
      throw e;
    }
  }, [thing, name]);
  useEffect(() => {
    if (loaded.value) setDoc((now) => ((now?.version ?? 0) > (loaded.value!.version ?? 0) ? now : loaded.value));
  }, [loaded.value]);
  useEffect(() => {
    const prefix = `$aws/things/${thing}/shadow/${name ? `name/${name}/` : ''}`;
    const ends = [
      watch(prefix + 'update/documents', (m) => {
        const { current, timestamp } = JSON.parse(new TextDecoder().decode(m.payload));
        setDoc({ ...current, timestamp });
        say('The shadow has changed');
      }),
      watch(prefix + 'delete/accepted', () => setDoc({})),
    ];
    return () => ends.forEach((end) => end());
  }, [thing, name]);
  if (loaded.error) return <Problem error={loaded.error} retry={loaded.reload} />;
  if (!doc) return <Loading />;
  const title = name ? `Shadow ${name}` : 'Classic shadow';
  const edit = <Button kind="primary" changes onClick={() => setEditing(true)}>{doc.version ? 'Edit desired state' : 'Set desired state'}</Button>;
  const all = doc.version ? lines(doc) : [];
  const differing = all.filter((l) => l.state === 'differs' || l.state === 'only-desired').length;
  return (
    <Card tight title={title} actions={doc.version ? <>
      {differing ? <Badge tone="warn">{differing} to do</Badge> : <Badge tone="good">In step</Badge>}
      <span class="muted">version {doc.version}{doc.timestamp ? <>, <When ms={doc.timestamp * 1000} /></> : ''}</span>
      {edit}
      <Button icon="trash" kind="danger" class="square" aria-label={`Delete ${title}`} changes onClick={() => setDeleting(true)} />
    </> : undefined}>
      {!doc.version ? (
        <Empty icon="things" title="This shadow is empty" actions={edit}>
          The device writes what is (reported), you write what should be (desired); the difference reaches the device when it is there. {isAdmin() ? 'Set a desired state, or let the device report one.' : ''}
        </Empty>
      ) : (
        <div class="table-wrap" tabIndex={0} role="region" aria-label={title}>
          <table class="shadow">
            <thead><tr><th scope="col">Value</th><th scope="col">Reported by the device</th><th scope="col">Desired</th><th scope="col">State</th></tr></thead>
            <tbody>
              {all.map((l) => (
                <tr key={l.path} class={l.state}>
                  <th scope="row"><code dir="auto">{visible(l.path) || '(empty)'}</code></th>
                  <td title={l.at ? 'Reported ' + moment(l.at * 1000) : undefined}><code dir="auto">{show(l.reported)}</code></td>
                  <td><code dir="auto">{show(l.desired)}</code></td>
                  <td>{l.state === 'same' ? <Badge tone="good">same</Badge> : l.state === 'differs' ? <Badge tone="warn">differs</Badge> : l.state === 'only-desired' ? <Badge tone="warn">not reported</Badge> : <Badge>reported only</Badge>}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {editing && <Edit title={title} path={path} query={query} doc={doc} close={() => setEditing(false)} done={() => { loaded.reload(); listChanged(); }} />}
      {deleting && <Confirm title={`Delete ${title}?`} verb="Delete" close={() => setDeleting(false)} run={async () => {
        await data.del(path, query);
        setDoc({});
        listChanged();
        toast('The shadow is deleted');
      }}>Reported and desired state are gone. A device that is connected writes its reported state again when it next reports.</Confirm>}
    </Card>
  );
}

function Edit({ title, path, query, doc, close, done }: { title: string; path: string; query: { name?: string }; doc: Document; close: () => void; done: () => void }) {
  const before = doc.state?.desired ?? {};
  const [base] = useState({ version: doc.version, desired: before });
  const [text, setText] = useState(pretty(before));
  const { tree, error: wrong, line } = readTree(text);
  const patch = tree ? change(base.desired, tree) : undefined;
  const changes = patch ? Object.keys(patch).length : 0;
  const { act, busy, error } = useAction(async () => {
    await data.post(path, { state: { desired: changes ? patch : tree }, version: base.version }, { query });
    toast('The desired state is set');
    done();
    close();
  });
  const moved = doc.version !== base.version;
  return (
    <Dialog title={`Desired state: ${title}`} wide close={close} actions={<>
      <Button onClick={close}>Cancel</Button>
      <Button kind="primary" busy={busy} changes disabled={!!wrong || (!changes && !!base.version)} onClick={() => void act()}>Save</Button>
    </>}>
      <Field label="Desired state as JSON" error={wrong} hint={changes ? <>Will be sent: <code>{JSON.stringify(patch).slice(0, 400)}</code></> : 'Nothing has changed yet. A value that you take out is removed.'}>
        {(a) => <Editor {...a} label="Desired state" value={text} change={setText} badLine={line} rows={14} />}
      </Field>
      {moved && <Problem error={new Error('The shadow has changed since you opened this. Close it and edit the new state, or saving will be refused.')} />}
      {error ? <Problem error={error} /> : null}
    </Dialog>
  );
}
