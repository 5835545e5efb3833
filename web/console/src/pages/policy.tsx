import { useState } from 'preact/hooks';
import { iot, seg, server } from '../lib/api';
import { leastPrivilege } from '../lib/policy';
import { go, place, setQuery, to } from '../lib/router';
import { pretty } from '../lib/text';
import { Badge, Button, Card, Confirm, Loading, Page, Problem, TabPanel, Table, Tabs, When, toast, useAction, useLoad } from '../ui/all';
import { Checked, canSave } from './policy/document';
import { Tester } from './policy/tester';

interface Version { versionId: string; isDefaultVersion: boolean; createDate?: number }

const tidy = (document: string) => {
  try {
    return pretty(JSON.parse(document));
  } catch {
    return document;
  }
};

type Tab = 'document' | 'versions' | 'targets';

export default function Policy({ name }: { name: string }) {
  const at = `/policies/${seg(name)}`;
  const policy = useLoad(() => iot.get<{ policyArn: string; policyDocument: string; defaultVersionId: string }>(at), [name]);
  const versions = useLoad(() => iot.get<{ policyVersions: Version[] }>(at + '/version'), [name]);
  const info = useLoad(() => server(), []);
  const [draft, setDraft] = useState<string | undefined>();
  const [deleting, setDeleting] = useState(false);
  const tab = (place.value.query.get('tab') ?? 'document') as Tab;
  const saved = policy.value ? tidy(policy.value.policyDocument) : '';
  const text = draft ?? saved;
  const reload = () => {
    policy.reload();
    versions.reload();
  };
  const save = useAction(async () => {
    const made = await iot.post<{ policyVersionId: string }>(at + '/version', { policyDocument: text }, { query: { setAsDefault: true } });
    setDraft(undefined);
    toast(`Version ${made.policyVersionId} holds now, for connected devices too`);
    reload();
  });
  const back = { href: to(['policies']), text: 'Policies' };
  if (policy.error) return <Page title={name} back={back}><Problem error={policy.error} retry={reload} /></Page>;
  if (!policy.value) return <Page title={name} back={back}><Loading /></Page>;
  const full = (versions.value?.policyVersions.length ?? 0) >= 5;
  return (
    <Page title={name} back={back} lead={<code>{policy.value.policyArn}</code>} actions={<Button icon="trash" kind="danger" changes onClick={() => setDeleting(true)}>Delete</Button>}>
      <Tabs label={`About ${name}`} tabs={[['document', 'Document'], ['versions', 'Versions'], ['targets', 'Used by']]} current={tab} select={(k) => setQuery({ tab: k === 'document' ? undefined : k })} />
      <TabPanel current={tab}>
        {tab === 'document' && (
          <>
            <Card title={`Version ${policy.value.defaultVersionId}`} actions={<>
              {draft !== undefined && draft !== saved && <Button onClick={() => setDraft(undefined)}>Discard</Button>}
              <Button kind="primary" changes busy={save.busy} disabled={text === saved || !canSave(text) || full} onClick={() => void save.act()}>Save as new version</Button>
            </>}>
              <Checked label="Document" value={text} change={setDraft} least={info.value ? leastPrivilege(info.value.server) : ''} hint={full ? 'There are five versions, the most a policy has: delete one under Versions to save another.' : 'Saving makes a new version that holds at once; the old ones stay for going back.'} />
              {save.error ? <Problem error={save.error} /> : null}
            </Card>
            <Tester />
          </>
        )}
        {tab === 'versions' && <Versions at={at} list={versions.value?.policyVersions} current={saved} reload={reload} />}
        {tab === 'targets' && <Targets name={name} />}
      </TabPanel>
      {deleting && <Confirm title={`Delete ${name}?`} verb="Delete" close={() => setDeleting(false)} run={async () => {
        const { targets } = await iot.post<{ targets: string[] }>(`/policy-targets/${seg(name)}`, {});
        if (targets.length) throw new Error('It is attached to certificates or groups: detach it under Used by first.');
        const { policyVersions } = await iot.get<{ policyVersions: Version[] }>(at + '/version');
        for (const v of policyVersions) if (!v.isDefaultVersion) await iot.del(`${at}/version/${v.versionId}`);
        await iot.del(at);
        toast(`${name} is deleted`);
        go(['policies']);
      }}>All its versions are gone. A policy that is attached to something cannot be deleted.</Confirm>}
    </Page>
  );
}

function Versions({ at, list, current, reload }: { at: string; list?: Version[]; current: string; reload: () => void }) {
  const [looking, setLooking] = useState<string | undefined>();
  const document = useLoad(async () => (looking ? tidy((await iot.get<{ policyDocument: string }>(`${at}/version/${looking}`)).policyDocument) : ''), [at, looking]);
  const { act, busy, error } = useAction(async (run: () => Promise<unknown>, done: string) => {
    await run();
    toast(done);
    reload();
  });
  if (!list) return <Loading />;
  return (
    <>
      <Card tight>
        <Table label="Versions" columns={['Version', 'Made', 'State', '']} rows={list.map((v) => ({
          key: v.versionId, cells: [
            <strong>{v.versionId}</strong>, <When ms={v.createDate ? v.createDate * 1000 : undefined} />, v.isDefaultVersion ? <Badge tone="good">in force</Badge> : '',
            <div class="actions">
              <Button onClick={() => setLooking(v.versionId)}>Compare</Button>
              {!v.isDefaultVersion && <Button changes busy={busy} onClick={() => void act(() => iot.patch(`${at}/version/${v.versionId}`), `Version ${v.versionId} is in force`)}>Put in force</Button>}
              {!v.isDefaultVersion && <Button kind="danger" changes busy={busy} onClick={() => void act(() => iot.del(`${at}/version/${v.versionId}`), `Version ${v.versionId} is deleted`)}>Delete</Button>}
            </div>,
          ],
        }))} />
      </Card>
      {error ? <Problem error={error} /> : null}
      {looking && document.value !== undefined && <Card title={`Version ${looking}, compared with the one in force`}><Diff from={current} to={document.value} /></Card>}
    </>
  );
}

/** Diff shows what to has that from has not, and the other way round, by lines. */
function Diff({ from, to }: { from: string; to: string }) {
  const a = from.split('\n');
  const b = to.split('\n');
  // The longest common subsequence; policies have some hundred lines at most.
  const size = a.length * b.length > 1e6 ? 0 : a.length;
  const best = Array.from({ length: size + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = size - 1; i >= 0; i--) for (let j = b.length - 1; j >= 0; j--) best[i][j] = a[i] === b[j] ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
  const out: [string, string][] = [];
  let i = 0;
  let j = 0;
  while (i < size || j < b.length) {
    if (i < size && j < b.length && a[i] === b[j]) { out.push([' ', a[i++]]); j++; }
    else if (j < b.length && (i >= size || best[i][j + 1] >= best[i + 1][j])) out.push(['+', b[j++]]);
    else out.push(['−', a[i++]]);
  }
  if (from === to) return <p class="muted">They are the same.</p>;
  return <pre class="box diff" tabIndex={0} aria-label="Differences">{out.map(([mark, line], n) => <div key={n} class={mark === '+' ? 'added' : mark === '−' ? 'removed' : undefined}>{mark} {line}</div>)}</pre>;
}

function Targets({ name }: { name: string }) {
  const { value, error, reload } = useLoad(async () => {
    const { targets } = await iot.post<{ targets: string[] }>(`/policy-targets/${seg(name)}`, {}, { query: { pageSize: 100 } });
    return Promise.all(targets.map(async (target) => {
      const things = target.includes(':cert/') ? (await iot.get<{ things: string[] }>('/principals/things', {}, { headers: { 'x-amzn-principal': target } }).catch(() => ({ things: [] as string[] }))).things : [];
      return { target, things };
    }));
  }, [name]);
  const { act, busy, error: failed } = useAction(async (target: string) => {
    await iot.post(`/target-policies/${seg(name)}`, { target });
    toast('The policy is detached');
    reload();
  });
  if (error) return <Problem error={error} retry={reload} />;
  if (!value) return <Loading />;
  return (
    <Card tight>
      {failed ? <Problem error={failed} /> : null}
      {value.length ? (
        <Table label="Used by" columns={['Certificate or group', 'Things', '']} rows={value.map((t) => ({
          key: t.target,
          cells: [<code title={t.target}>{t.target.split(':').pop()!.replace(/^(cert\/.{12}).*/, '$1…')}</code>, t.things.map((n, i) => <>{i > 0 && ', '}<a href={to(['things', n])}>{n}</a></>), <Button changes busy={busy} onClick={() => void act(t.target)}>Detach</Button>],
        }))} />
      ) : <p class="pad muted">Nothing uses this policy. Attach it to a certificate on a thing's page, or to a group with <code>aws iot attach-policy</code>.</p>}
    </Card>
  );
}
