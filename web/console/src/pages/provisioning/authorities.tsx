import { useState } from 'preact/hooks';
import { ApiError, berth, iot } from '../../lib/api';
import { listAuthorities, listTemplates, role } from '../../lib/provisioning';
import type { Activation, Authority } from '../../lib/provisioning';
import { to } from '../../lib/router';
import { moment } from '../../lib/text';
import { subjectText } from '../../lib/x509';
import { Badge, Button, Card, Confirm, Dialog, Empty, Fact, Facts, Field, Loading, Problem, Value, toast, useAction, useLoad } from '../../ui/all';

const templatesFor = async () => (await listTemplates()).filter((t) => t.type === 'JITP').map((t) => t.templateName);

/** Authorities are the CAs whose devices are let in. */
export function Authorities() {
  const { value, error, reload } = useLoad(listAuthorities, []);
  const [adding, setAdding] = useState(false);
  if (error) return <Problem error={error} retry={reload} />;
  if (!value) return <Loading />;
  const add = <Button kind="primary" icon="plus" changes onClick={() => setAdding(true)}>Register authority</Button>;
  return (
    <>
      {value.length > 0 && <div class="actions end">{add}</div>}
      {!value.length && <Card><Empty icon="policies" title="No authority registered" actions={add}>If your boards already carry certificates that your own authority signed, register it here. They then register themselves when they first connect.</Empty></Card>}
      {value.map((a) => <AuthorityCard key={a.certificateId} authority={a} reload={reload} />)}
      {adding && <Register close={() => setAdding(false)} done={reload} />}
    </>
  );
}

function AuthorityCard({ authority: a, reload }: { authority: Authority; reload: () => void }) {
  const at = `/cacertificate/${a.certificateId}`;
  const rule = useLoad(() => berth.get<Activation>(`/cacertificates/${a.certificateId}/activation`).catch((e) => {
    if (e instanceof ApiError && e.status === 404) return undefined;
    throw e;
  }), [a.certificateId]);
  const [asking, setAsking] = useState<'delete' | 'settings' | undefined>();
  const change = useAction(async (query: Record<string, string>, done: string) => {
    await iot.put(at, {}, { query });
    toast(done);
    reload();
  });
  const active = a.status === 'ACTIVE';
  const auto = a.autoRegistrationStatus === 'ENABLE';
  const then = !auto ? 'They must be registered first.' : a.template ? <>Template <a href={to(['provisioning', a.template])}>{a.template}</a> makes their thing.</> : rule.value ? `Those that match are let in: ${rule.value.subjects?.join(' or ') ?? ''} ${rule.value.approval ?? ''}` : 'They wait until somebody approves them.';
  return (
    <Card title={<span class="inline"><Badge tone={active ? 'good' : 'warn'}>{a.status}</Badge> <span dir="auto">{subjectText(a.certificatePem) || a.certificateId.slice(0, 12)}</span></span>} actions={<>
      <Button changes onClick={() => setAsking('settings')}>Just-in-time settings</Button>
      <Button changes busy={change.busy} onClick={() => void change.act({ newStatus: active ? 'INACTIVE' : 'ACTIVE' }, active ? 'The authority is inactive: no new device of it gets in' : 'The authority is active')}>{active ? 'Deactivate' : 'Activate'}</Button>
      <Button kind="danger" icon="trash" changes onClick={() => setAsking('delete')}>Delete</Button>
    </>}>
      <Facts>
        <Fact name="Identifier"><code title={a.certificateId}>{a.certificateId.slice(0, 12)}…</code></Fact>
        <Fact name="Mode">{a.certificateMode}</Fact>
        <Fact name="Valid until">{moment(a.validity.notAfter * 1000).slice(0, 10)}{a.validity.notAfter * 1000 < Date.now() && <> <Badge tone="bad">expired</Badge></>}</Fact>
        <Fact name="New devices">{auto ? <Badge tone="good">register themselves</Badge> : <Badge>do not register themselves</Badge>} {then}</Fact>
      </Facts>
      {change.error ? <Problem error={change.error} /> : null}
      {rule.error ? <Problem error={rule.error} retry={rule.reload} /> : null}
      {asking === 'settings' && <Settings authority={a} rule={rule.value} close={() => setAsking(undefined)} done={() => { reload(); rule.reload(); }} />}
      {asking === 'delete' && <Confirm title="Delete this authority?" verb="Delete" close={() => setAsking(undefined)} run={async () => {
        if (active) await iot.put(at, {}, { query: { newStatus: 'INACTIVE' } });
        await iot.del(at);
        toast('The authority is deleted');
        reload();
      }}>No new device of it gets in. The certificates that it signed and that are registered stay.</Confirm>}
    </Card>
  );
}

type Way = 'off' | 'template' | 'wait' | 'match';

/** Settings chooses what becomes of a device that connects for the first time. */
function Settings({ authority: a, rule, close, done }: { authority: Authority; rule?: Activation; close: () => void; done: () => void }) {
  const templates = useLoad(templatesFor, []);
  const [way, setWay] = useState<Way>(a.autoRegistrationStatus !== 'ENABLE' ? 'off' : a.template ? 'template' : rule ? 'match' : 'wait');
  const [template, setTemplate] = useState(a.template ?? '');
  const [subjects, setSubjects] = useState(rule?.subjects?.join('\n') ?? 'CN=*');
  const [policies, setPolicies] = useState(rule?.policies?.join(', ') ?? 'device-own-topics');
  const chosen = template || templates.value?.[0] || '';
  const { act, busy, error } = useAction(async () => {
    const activation = `/cacertificates/${a.certificateId}/activation`;
    const at = `/cacertificate/${a.certificateId}`;
    if (a.template && way !== 'template') await iot.put(at, { removeAutoRegistration: true });
    if (rule && way !== 'match') await berth.del(activation);
    if (way === 'match') {
      await berth.put(activation, { ...rule, subjects: subjects.split('\n').map((s) => s.trim()).filter(Boolean), policies: policies.split(',').map((s) => s.trim()).filter(Boolean) });
    }
    await iot.put(at, way === 'template' ? { registrationConfig: { templateName: chosen, roleArn: await role() } } : {}, { query: { newAutoRegistrationStatus: way === 'off' ? 'DISABLE' : 'ENABLE' } });
    toast('The settings hold for the next device');
    done();
    close();
  });
  const choice = (w: Way, text: string, hint: string, barred = false) => (
    <label class="check choice"><input type="radio" name="way" checked={way === w} disabled={barred} onChange={() => setWay(w)} /><span><strong>{text}</strong><span class="hint">{hint}</span></span></label>
  );
  return (
    <Dialog title="Just-in-time settings" close={close} actions={<><Button onClick={close}>Cancel</Button><Button kind="primary" busy={busy} disabled={way === 'template' && !chosen} onClick={() => void act()}>Save</Button></>}>
      <div class="stack" role="radiogroup" aria-label="A device that connects for the first time">
        {choice('template', 'runs a template', templates.value?.length === 0 ? 'There is no template for your own authority yet: make one under Templates.' : 'Its thing and policy are made; the next connection is let in.', templates.value?.length === 0)}
        {choice('match', 'is let in if its subject matches', 'It gets a thing named after its common name, and policies. Only berth has this.')}
        {choice('wait', 'waits for approval', 'It is registered and listed under Waiting for approval.')}
        {choice('off', 'is turned away', 'Unless its certificate was registered before.')}
      </div>
      {way === 'template' && <Field label="Template">{(f) => <select {...f} value={chosen} onChange={(e) => setTemplate(e.currentTarget.value)}>{templates.value?.map((t) => <option key={t} value={t}>{t}</option>)}</select>}</Field>}
      {way === 'match' && <>
        <Field label="Subjects" hint="One pattern a line, such as CN=lamp-*,O=Acme, with * and ?.">{(f) => <textarea {...f} rows={3} value={subjects} spellcheck={false} onInput={(e) => setSubjects(e.currentTarget.value)} />}</Field>
        <Field label="Policies" hint="Names with commas between.">{(f) => <input {...f} value={policies} spellcheck={false} onInput={(e) => setPolicies(e.currentTarget.value)} />}</Field>
      </>}
      {error ? <Problem error={error} /> : null}
    </Dialog>
  );
}

function Register({ close, done }: { close: () => void; done: () => void }) {
  const [mode, setMode] = useState<'DEFAULT' | 'SNI_ONLY'>('DEFAULT');
  const [pem, setPem] = useState('');
  const [proof, setProof] = useState('');
  const [auto, setAuto] = useState(true);
  const [template, setTemplate] = useState('');
  const templates = useLoad(templatesFor, []);
  const code = useLoad(() => iot.get<{ registrationCode: string }>('/registrationcode'), []);
  const { act, busy, error } = useAction(async () => {
    await iot.post('/cacertificate', {
      caCertificate: pem, certificateMode: mode, ...(mode === 'DEFAULT' ? { verificationCertificate: proof } : {}),
      ...(auto && template ? { registrationConfig: { templateName: template, roleArn: await role() } } : {}),
    }, { query: { setAsActive: true, allowAutoRegistration: auto } });
    toast('The authority is registered and active');
    done();
    close();
  });
  const name = subjectText(pem);
  const commands = code.value && `openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout proof.key -out proof.csr -subj /CN=${code.value.registrationCode}\nopenssl x509 -req -in proof.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 -out proof.pem`;
  return (
    <Dialog title="Register authority" wide close={close} actions={<><Button onClick={close}>Cancel</Button><Button kind="primary" busy={busy} disabled={!pem || (mode === 'DEFAULT' && !proof)} onClick={() => void act()}>Register</Button></>}>
      <Pem label="CA certificate" hint={name ? `Subject: ${name}` : 'PEM text or file. Its private key stays with you.'} value={pem} change={setPem} />
      <Field label="Mode" hint={mode === 'DEFAULT' ? 'You prove that you hold the authority\'s key by a certificate that it signs.' : 'No proof is needed; devices must name this server in the TLS handshake, as nearly all do.'}>
        {(a) => <select {...a} value={mode} onChange={(e) => setMode(e.currentTarget.value as 'DEFAULT')}><option value="DEFAULT">Proof by a verification certificate</option><option value="SNI_ONLY">Without proof (SNI_ONLY)</option></select>}
      </Field>
      {mode === 'DEFAULT' && <>
        {code.error ? <Problem error={code.error} retry={code.reload} /> : code.value && <div class="stack"><span class="hint">The verification certificate has this code as common name:</span><Value text={code.value.registrationCode} what="the registration code" /><pre class="box" tabIndex={0} aria-label="Commands">{commands}</pre></div>}
        <Pem label="Verification certificate" hint="PEM text or file: proof.pem of the commands above." value={proof} change={setProof} />
      </>}
      <label class="check"><input type="checkbox" checked={auto} onChange={(e) => setAuto(e.currentTarget.checked)} /> Devices register themselves when they first connect</label>
      {auto && <Field label="Template" hint="With one, the device gets its thing and policy at once; without, it waits for approval.">
        {(a) => <select {...a} value={template} onChange={(e) => setTemplate(e.currentTarget.value)}><option value="">none: wait for approval</option>{templates.value?.map((t) => <option key={t} value={t}>{t}</option>)}</select>}
      </Field>}
      {error ? <Problem error={error} /> : null}
    </Dialog>
  );
}

function Pem({ label, hint, value, change }: { label: string; hint: string; value: string; change: (s: string) => void }) {
  return (
    <div class="stack tightly">
      <Field label={label} hint={hint}>{(a) => <textarea {...a} rows={4} value={value} spellcheck={false} placeholder="-----BEGIN CERTIFICATE-----" onInput={(e) => change(e.currentTarget.value)} />}</Field>
      <input type="file" accept=".pem,.crt,.cer" aria-label={`${label}, from a file`} onChange={async (e) => { const f = e.currentTarget.files?.[0]; if (f) change(await f.text()); }} />
    </div>
  );
}
