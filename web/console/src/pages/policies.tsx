import { useState } from 'preact/hooks';
import { all, iot, seg, server } from '../lib/api';
import { leastPrivilege } from '../lib/policy';
import { go, to } from '../lib/router';
import { Button, Card, Dialog, Empty, Field, Icon, Loading, Page, Problem, Table, useAction, useLoad } from '../ui/all';
import Policy from './policy';
import { Checked } from './policy/document';
import { Tester } from './policy/tester';
import type { PageProps } from './table';

export default function PoliciesPage({ path }: PageProps) {
  return path.length ? <Policy name={path[0]} /> : <PolicyList />;
}

interface Summary { policyName: string; policyArn: string }

export const listPolicies = () => all(async (marker) => {
  const p = await iot.get<{ policies: Summary[]; nextMarker?: string }>('/policies', { pageSize: 250, marker });
  return { items: p.policies, next: p.nextMarker };
});

function PolicyList() {
  const { value, error, reload } = useLoad(listPolicies, []);
  const [text, setText] = useState('');
  const [adding, setAdding] = useState(false);
  if (error) return <Problem error={error} retry={reload} />;
  const add = <Button kind="primary" icon="plus" changes onClick={() => setAdding(true)}>New policy</Button>;
  const shown = value?.filter((p) => p.policyName.toLowerCase().includes(text.toLowerCase()));
  return (
    <Page title="Policies" lead="What devices may do. A device can do only what a policy of its certificate, or of its thing's groups, allows." actions={add}>
      <Card tight>
        {!value ? <Loading /> : !value.length ? (
          <Empty icon="policies" title="No policies yet" actions={add}>Without one no device may even connect. Begin with the least-privilege policy: one document for all devices, in which each may use its own topics only.</Empty>
        ) : (
          <>
            <div class="toolbar">
              <div class="search grow"><Icon name="search" /><input type="search" data-search aria-label="Filter policies by name" placeholder="Filter by name" value={text} onInput={(e) => setText(e.currentTarget.value)} /><kbd aria-hidden="true">/</kbd></div>
            </div>
            <Table label="Policies" columns={['Name', 'ARN']} rows={shown!.slice(0, 500).map((p) => ({ key: p.policyName, cells: [<a href={to(['policies', p.policyName])}>{p.policyName}</a>, <code>{p.policyArn}</code>] }))} />
          </>
        )}
      </Card>
      {value && value.length > 0 && <Tester />}
      {adding && <NewPolicy close={() => setAdding(false)} />}
    </Page>
  );
}

function NewPolicy({ close }: { close: () => void }) {
  const info = useLoad(() => server(), []);
  const least = info.value ? leastPrivilege(info.value.server) : '';
  const [name, setName] = useState('');
  const [text, setText] = useState<string | undefined>();
  const bad = name && !/^[\w+=,.@-]{1,128}$/.test(name) ? 'Use letters, digits, and _ + = , . @ - only.' : '';
  const { act, busy, error } = useAction(async () => {
    await iot.post(`/policies/${seg(name)}`, { policyDocument: text ?? least });
    close();
    go(['policies', name]);
  });
  return (
    <Dialog title="New policy" wide close={close} actions={<><Button onClick={close}>Cancel</Button><Button kind="primary" busy={busy} disabled={!name || !!bad || !least} onClick={() => void act()}>Make policy</Button></>}>
      <Field label="Name" error={bad}>{(a) => <input {...a} value={name} data-autofocus spellcheck={false} onInput={(e) => setName(e.currentTarget.value.trim())} />}</Field>
      <Checked label="Document" hint="This one fits every device: the variable stands for the name of its thing." value={text ?? least} change={setText} least={least} rows={14} />
      {error ? <Problem error={error} /> : null}
    </Dialog>
  );
}
