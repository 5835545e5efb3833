import { useState } from 'preact/hooks';
import { iot } from '../lib/api';
import { ensurePolicy } from '../lib/device';
import { checkBody, defaultBody, kinds, listTemplates, role } from '../lib/provisioning';
import type { Kind } from '../lib/provisioning';
import { go, place, setQuery, to } from '../lib/router';
import { Badge, Button, Card, Dialog, Editor, Empty, Field, Loading, Page, Problem, TabPanel, Table, Tabs, When, useAction, useLoad } from '../ui/all';
import { Authorities } from './provisioning/authorities';
import { PendingCertificates } from './provisioning/pending';
import TemplatePage from './provisioning/template';
import type { PageProps } from './table';

type Tab = 'templates' | 'authorities' | 'pending';

export default function Provisioning({ path }: PageProps) {
  if (path.length) return <TemplatePage name={path[0]} />;
  const tab = (place.value.query.get('tab') ?? 'templates') as Tab;
  return (
    <Page title="Provisioning" lead="How new devices get in by themselves: with a claim certificate that all of them share, or with a certificate of your own authority.">
      <Tabs label="Provisioning" tabs={[['templates', 'Templates'], ['authorities', 'Authorities'], ['pending', 'Waiting for approval']]} current={tab} select={(k) => setQuery({ tab: k === 'templates' ? undefined : k })} />
      <TabPanel current={tab}>
        {tab === 'templates' && <Templates />}
        {tab === 'authorities' && <Authorities />}
        {tab === 'pending' && <PendingCertificates />}
      </TabPanel>
    </Page>
  );
}

function Templates() {
  const { value, error, reload } = useLoad(listTemplates, []);
  const [adding, setAdding] = useState(false);
  if (error) return <Problem error={error} retry={reload} />;
  if (!value) return <Loading />;
  const add = <Button kind="primary" icon="plus" changes onClick={() => setAdding(true)}>New template</Button>;
  return (
    <>
      {value.length ? (
        <Card tight title="Templates" actions={add}>
          <Table label="Templates" columns={['Name', 'Devices come with a', 'State', 'Made']} rows={value.map((t) => ({
            key: t.templateName,
            cells: [<><a href={to(['provisioning', t.templateName])}>{t.templateName}</a>{t.description && <div class="hint" dir="auto">{t.description}</div>}</>, kinds[t.type] ?? t.type, t.enabled ? <Badge tone="good">open</Badge> : <Badge tone="warn">closed</Badge>, <When ms={t.creationDate * 1000} />],
          }))} />
        </Card>
      ) : (
        <Card><Empty icon="key" title="No templates yet" actions={add}>A template says what becomes of a device that nobody has registered: its thing, its policy and its groups. Begin with one that names the thing after the serial number and lets it use its own topics only.</Empty></Card>
      )}
      {adding && <NewTemplate close={() => setAdding(false)} />}
    </>
  );
}

function NewTemplate({ close }: { close: () => void }) {
  const [name, setName] = useState('');
  const [kind, setKind] = useState<Kind>('FLEET_PROVISIONING');
  const [hook, setHook] = useState('');
  const least = 'device-own-topics';
  const [text, setText] = useState<string | undefined>();
  const body = text ?? defaultBody(kind, least);
  const wrong = checkBody(body);
  const bad = name && !/^[0-9A-Za-z_-]{1,36}$/.test(name) ? 'Use up to 36 letters, digits, and _ - only.' : '';
  const { act, busy, error } = useAction(async () => {
    let templateBody = body;
    if (text === undefined) templateBody = defaultBody(kind, await ensurePolicy());
    await iot.post('/provisioning-templates', { templateName: name, templateBody, type: kind, enabled: true, provisioningRoleArn: await role(), ...(hook ? { preProvisioningHook: { targetArn: hook } } : {}) });
    close();
    go(['provisioning', name]);
  });
  return (
    <Dialog title="New template" wide close={close} actions={<><Button onClick={close}>Cancel</Button><Button kind="primary" busy={busy} disabled={!name || !!bad || !!wrong} onClick={() => void act()}>Make template</Button></>}>
      <div class="pair">
        <Field label="Name" error={bad}>{(a) => <input {...a} value={name} data-autofocus spellcheck={false} autocomplete="off" onInput={(e) => setName(e.currentTarget.value.trim())} />}</Field>
        <Field label="Devices come with a">
          {(a) => <select {...a} value={kind} onChange={(e) => setKind(e.currentTarget.value as Kind)}>{Object.entries(kinds).map(([k, t]) => <option key={k} value={k}>{t}{k === 'JITP' ? ' (just in time)' : ''}</option>)}</select>}
        </Field>
      </div>
      <Field label="Body" error={wrong?.text} hint={kind === 'JITP' ? 'The thing is named after the common name of the certificate.' : 'The thing is named after the SerialNumber that the device gives.'}>
        {(a) => <Editor {...a} label="Body" value={body} change={setText} badLine={wrong?.line} rows={14} />}
      </Field>
      <Field label="Hook (optional)" hint="Asked before a device is let in: an https:// URL, exec:PROGRAM that berth serve allows, or the ARN of a Lambda function.">
        {(a) => <input {...a} value={hook} placeholder="https://example.com/allow" spellcheck={false} autocomplete="off" onInput={(e) => setHook(e.currentTarget.value.trim())} />}
      </Field>
      {error ? <Problem error={error} /> : null}
    </Dialog>
  );
}
