import { useState } from 'preact/hooks';
import { ApiError, iot, seg } from '../../lib/api';
import { checkBody, claimPolicy, kinds } from '../../lib/provisioning';
import type { Template } from '../../lib/provisioning';
import { go, place, setQuery, to } from '../../lib/router';
import { prettyText } from '../../lib/text';
import { Badge, Button, Card, Confirm, Editor, Fact, Facts, Field, Loading, Page, Problem, TabPanel, Table, Tabs, When, toast, useAction, useLoad } from '../../ui/all';
import { Claims } from './claims';

interface Version { versionId: number; creationDate: number; isDefaultVersion: boolean }

type Tab = 'body' | 'claims' | 'versions' | 'hook';

export default function TemplatePage({ name }: { name: string }) {
  const at = `/provisioning-templates/${seg(name)}`;
  const { value: t, error, reload } = useLoad(() => iot.get<Template>(at), [name]);
  const [deleting, setDeleting] = useState(false);
  const toggle = useAction(async () => {
    await iot.patch(at, { enabled: !t!.enabled });
    toast(t!.enabled ? 'The template is closed: no device gets in by it' : 'The template is open');
    reload();
  });
  const tab = (place.value.query.get('tab') ?? 'body') as Tab;
  const back = { href: to(['provisioning']), text: 'Provisioning' };
  if (error) return <Page title={name} back={back}><Problem error={error} retry={reload} /></Page>;
  if (!t) return <Page title={name} back={back}><Loading /></Page>;
  const claim = t.type === 'FLEET_PROVISIONING';
  const tabs: [Tab, string][] = [['body', 'Template'], ...(claim ? [['claims', 'Claim certificates'] as [Tab, string]] : []), ['versions', 'Versions'], ['hook', 'Hook']];
  return (
    <Page title={name} back={back} lead={<span class="inline">{t.enabled ? <Badge tone="good">open</Badge> : <Badge tone="warn">closed</Badge>} <span>Devices come with a {kinds[t.type]}.</span></span>} actions={<>
      <Button changes busy={toggle.busy} onClick={() => void toggle.act()}>{t.enabled ? 'Close' : 'Open'}</Button>
      <Button icon="trash" kind="danger" changes onClick={() => setDeleting(true)}>Delete</Button>
    </>}>
      {toggle.error ? <Problem error={toggle.error} /> : null}
      <Tabs label={`About ${name}`} tabs={tabs} current={tab} select={(k) => setQuery({ tab: k === 'body' ? undefined : k })} />
      <TabPanel current={tab}>
        {tab === 'body' && <Body at={at} template={t} reload={reload} />}
        {tab === 'claims' && <Claims template={name} />}
        {tab === 'versions' && <Versions at={at} template={t} reload={reload} />}
        {tab === 'hook' && <Hook at={at} template={t} reload={reload} />}
      </TabPanel>
      {deleting && <Confirm title={`Delete ${name}?`} verb="Delete" close={() => setDeleting(false)} run={async () => {
        const { versions } = await iot.get<{ versions: Version[] }>(at + '/versions');
        for (const v of versions) if (!v.isDefaultVersion) await iot.del(`${at}/versions/${v.versionId}`);
        await iot.del(at);
        toast(`${name} is deleted`);
        go(['provisioning']);
      }}>No device gets in by it any more; those that did stay. Its claim certificates stay too: deactivate them, they lead nowhere.</Confirm>}
    </Page>
  );
}

interface Part { at: string; template: Template; reload: () => void }

function Body({ at, template: t, reload }: Part) {
  const saved = prettyText(t.templateBody).text;
  const [draft, setDraft] = useState<string | undefined>();
  const text = draft ?? saved;
  const wrong = checkBody(text);
  const { act, busy, error } = useAction(async () => {
    const v = await iot.post<{ versionId: number }>(at + '/versions', { templateBody: text }, { query: { setAsDefault: true } });
    setDraft(undefined);
    toast(`Version ${v.versionId} holds for the next device`);
    reload();
  });
  return (
    <Card title={`Version ${t.defaultVersionId}`} actions={<>
      {text !== saved && <Button onClick={() => setDraft(undefined)}>Discard</Button>}
      <Button kind="primary" changes busy={busy} disabled={text === saved || !!wrong} onClick={() => void act()}>Save as new version</Button>
    </>}>
      <Field label="Body" error={wrong?.text} hint="Saving makes a new version that holds from the next device on; the old ones stay for going back.">
        {(a) => <Editor {...a} label="Body" value={text} change={setDraft} badLine={wrong?.line} rows={Math.min(32, Math.max(12, text.split('\n').length + 1))} />}
      </Field>
      {error ? <Problem error={error} /> : null}
    </Card>
  );
}

function Versions({ at, template: t, reload }: Part) {
  const list = useLoad(() => iot.get<{ versions: Version[] }>(at + '/versions'), [at, t.defaultVersionId]);
  const [looking, setLooking] = useState<number | undefined>();
  const shown = useLoad(async () => (looking ? prettyText((await iot.get<{ templateBody: string }>(`${at}/versions/${looking}`)).templateBody).text : ''), [at, looking]);
  const { act, busy, error } = useAction(async (run: () => Promise<unknown>, done: string) => {
    await run();
    toast(done);
    reload();
    list.reload();
  });
  if (list.error) return <Problem error={list.error} retry={list.reload} />;
  if (!list.value) return <Loading />;
  return (
    <>
      <Card tight>
        <Table label="Versions" columns={['Version', 'Made', 'State', '']} rows={list.value.versions.map((v) => ({
          key: v.versionId,
          cells: [<strong>{v.versionId}</strong>, <When ms={v.creationDate * 1000} />, v.isDefaultVersion ? <Badge tone="good">in force</Badge> : '', <div class="actions">
            <Button onClick={() => setLooking(v.versionId)}>Show</Button>
            {!v.isDefaultVersion && <Button changes busy={busy} onClick={() => void act(() => iot.patch(at, { defaultVersionId: v.versionId }), `Version ${v.versionId} is in force`)}>Put in force</Button>}
            {!v.isDefaultVersion && <Button kind="danger" changes busy={busy} onClick={() => void act(() => iot.del(`${at}/versions/${v.versionId}`), `Version ${v.versionId} is deleted`)}>Delete</Button>}
          </div>],
        }))} />
      </Card>
      {error ? <Problem error={error} /> : null}
      {looking && shown.value ? <Card title={`Version ${looking}`}><pre class="box" tabIndex={0} aria-label={`Version ${looking}`}>{shown.value}</pre></Card> : null}
    </>
  );
}

function Hook({ at, template: t, reload }: Part) {
  const now = t.preProvisioningHook?.targetArn ?? '';
  const [target, setTarget] = useState(now);
  const { act, busy, error } = useAction(async () => {
    await iot.patch(at, target ? { preProvisioningHook: { targetArn: target } } : { removePreProvisioningHook: true });
    toast(target ? 'The hook is asked from now on' : 'No hook is asked any more');
    reload();
  });
  return (
    <Card title="Before a device is let in" actions={<Button kind="primary" changes busy={busy} disabled={target === now} onClick={() => void act()}>{target || !now ? 'Save' : 'Remove'}</Button>}>
      <Facts>
        <Fact name="Asked now">{now ? <code>{now}</code> : 'nobody: every device with a valid claim gets in'}</Fact>
        <Fact name="It is sent">claimCertificateId, certificateId, certificatePem, templateArn, clientId, parameters</Fact>
        <Fact name="It answers"><code>{'{"allowProvisioning": true, "parameterOverrides": {…}}'}</code> within five seconds; whatever else it says keeps the device out</Fact>
      </Facts>
      <Field label="Target" hint="An https:// URL, exec:PROGRAM that berth serve --hook-commands names, or the ARN of a Lambda function. Empty for none.">
        {(a) => <input {...a} value={target} placeholder="https://example.com/allow" spellcheck={false} autocomplete="off" onInput={(e) => setTarget(e.currentTarget.value.trim())} />}
      </Field>
      {error ? <Problem error={error} /> : null}
    </Card>
  );
}

/** claimTargets are the certificates that hold the claim policy of a template. */
export async function claimTargets(template: string): Promise<string[]> {
  try {
    return (await iot.post<{ targets: string[] }>(`/policy-targets/${seg(claimPolicy(template))}`, {}, { query: { pageSize: 100 } })).targets.filter((t) => t.includes(':cert/'));
  } catch (e) {
    if (e instanceof ApiError && e.status === 404) return [];
    throw e;
  }
}
