import { useState } from 'preact/hooks';
import { all, iot, seg } from '../../lib/api';
import { ensurePolicy, save } from '../../lib/device';
import { canMakeKeys, makeKey } from '../../lib/keys';
import { to } from '../../lib/router';
import { moment } from '../../lib/text';
import { Badge, Button, Card, Confirm, Dialog, Empty, Fact, Facts, Field, Loading, Note, Problem, When, toast, useAction, useLoad } from '../../ui/all';
import type { Tone } from '../../ui';

interface Certificate {
  certificateId: string;
  certificateArn: string;
  status: string;
  creationDate: number; // seconds
  validity?: { notBefore: number; notAfter: number };
  certificatePem: string;
  policies: string[];
}

const tones: Record<string, Tone> = { ACTIVE: 'good', INACTIVE: 'warn', REVOKED: 'bad', PENDING_ACTIVATION: 'warn', PENDING_TRANSFER: 'warn' };
const soon = 30 * 86_400_000;

async function load(thing: string): Promise<Certificate[]> {
  const { principals } = await iot.get<{ principals: string[] }>(`/things/${seg(thing)}/principals`);
  return Promise.all(principals.filter((p) => p.includes(':cert/')).map(async (arn) => {
    const { certificateDescription: c } = await iot.get<{ certificateDescription: Certificate }>(`/certificates/${seg(arn.split('/').pop()!)}`);
    const { policies } = await iot.post<{ policies: { policyName: string }[] }>(`/attached-policies/${seg(arn)}`);
    return { ...c, policies: policies.map((p) => p.policyName) };
  }));
}

export function Certificates({ thing }: { thing: string }) {
  const { value, error, reload } = useLoad(() => load(thing), [thing]);
  const [adding, setAdding] = useState(false);
  const [asking, setAsking] = useState<{ c: Certificate; what: 'revoke' | 'detach' | 'delete' } | undefined>();
  const setStatus = useAction(async (c: Certificate, newStatus: string) => {
    await iot.put(`/certificates/${seg(c.certificateId)}`, undefined, { query: { newStatus } });
    toast(`The certificate is ${newStatus}`);
    reload();
  });
  if (error) return <Problem error={error} retry={reload} />;
  if (!value) return <Loading />;
  const add = <Button icon="plus" kind={value.length ? 'plain' : 'primary'} changes onClick={() => setAdding(true)}>New certificate</Button>;
  return (
    <>
      {value.length > 0 && <div class="actions">{add}</div>}
      {setStatus.error ? <Problem error={setStatus.error} /> : null}
      {!value.length && <Card><Empty icon="key" title="No certificate" actions={add}>Without one the device cannot connect. Make one here with a key from this browser, or attach one with <code>berth cert attach</code>.</Empty></Card>}
      {value.map((c) => {
        const end = (c.validity?.notAfter ?? 0) * 1000;
        return (
          <Card key={c.certificateId} title={<span class="inline"><Badge tone={tones[c.status]}>{c.status}</Badge> <code title={c.certificateId}>{c.certificateId.slice(0, 12)}…</code></span>} actions={<>
            <Button icon="download" onClick={() => save(`${thing}.cert.pem`, c.certificatePem)}>PEM</Button>
            {c.status === 'INACTIVE' || c.status === 'PENDING_ACTIVATION' ? <Button changes busy={setStatus.busy} onClick={() => void setStatus.act(c, 'ACTIVE')}>Activate</Button> : null}
            {c.status === 'ACTIVE' && <Button changes busy={setStatus.busy} onClick={() => void setStatus.act(c, 'INACTIVE')}>Deactivate</Button>}
            {c.status !== 'REVOKED' && <Button kind="danger" changes onClick={() => setAsking({ c, what: 'revoke' })}>Revoke</Button>}
            <Button kind="danger" changes onClick={() => setAsking({ c, what: 'detach' })}>Detach</Button>
          </>}>
            <Facts>
              <Fact name="Made"><When ms={c.creationDate * 1000} /></Fact>
              <Fact name="Valid until">{end ? <>{moment(end).slice(0, 10)} {end < Date.now() ? <Badge tone="bad">expired</Badge> : end < Date.now() + soon ? <Badge tone="warn">expires soon</Badge> : <span class="muted"> (<When ms={end} />)</span>}</> : '–'}</Fact>
              <Fact name="Policies">{c.policies.length ? c.policies.map((p, i) => <>{i > 0 && ', '}<a href={to(['policies', p])}>{p}</a></>) : <Badge tone="warn">none: it may do nothing</Badge>}</Fact>
            </Facts>
          </Card>
        );
      })}
      {adding && <NewCertificate thing={thing} close={() => setAdding(false)} done={reload} />}
      {asking?.what === 'revoke' && <Confirm title="Revoke this certificate?" verb="Revoke" close={() => setAsking(undefined)} run={async () => { await setStatus.act(asking.c, 'REVOKED'); }}>
        The device that uses it is disconnected at once and stays out. For a pause, deactivate it instead.
      </Confirm>}
      {asking?.what === 'detach' && <Confirm title={`Detach it from ${thing}?`} verb="Detach" close={() => setAsking(undefined)} run={async () => {
        await iot.del(`/things/${seg(thing)}/principals`, undefined, { headers: { 'x-amzn-principal': asking.c.certificateArn } });
        toast('The certificate is detached');
        reload();
      }}>The certificate stays in the registry. Policies that name the thing by a variable no longer fit the device that uses it.</Confirm>}
    </>
  );
}

function NewCertificate({ thing, close, done }: { thing: string; close: () => void; done: () => void }) {
  const policies = useLoad(() => all(async (marker) => {
    const p = await iot.get<{ policies: { policyName: string }[]; nextMarker?: string }>('/policies', { pageSize: 250, marker });
    return { items: p.policies.map((x) => x.policyName), next: p.nextMarker };
  }), []);
  const least = '(least privilege)';
  const [policy, setPolicy] = useState(least);
  const [made, setMade] = useState<{ cert: string; key: string } | undefined>();
  const { act, busy, error } = useAction(async () => {
    if (!canMakeKeys()) throw new Error('This browser makes keys on HTTPS pages and on localhost only. Open the console there, or use berth cert create.');
    const key = await makeKey(thing);
    const c = await iot.post<{ certificateArn: string; certificatePem: string }>('/certificates', { certificateSigningRequest: key.csrPem }, { query: { setAsActive: true } });
    setMade({ cert: c.certificatePem, key: key.privateKeyPem });
    const name = policy === least ? await ensurePolicy() : policy;
    await iot.put(`/target-policies/${seg(name)}`, { target: c.certificateArn });
    await iot.put(`/things/${seg(thing)}/principals`, undefined, { headers: { 'x-amzn-principal': c.certificateArn } });
    done();
  });
  return (
    <Dialog title={`New certificate for ${thing}`} close={close} actions={made && !busy && !error ? <Button kind="primary" onClick={close}>Done</Button> : <><Button onClick={close}>Cancel</Button><Button kind="primary" busy={busy} onClick={() => void act()}>Make certificate</Button></>}>
      {made && !busy ? (
        <>
          <Note tone={error ? 'warn' : 'good'} title={error ? 'The certificate is made, but not attached' : 'The certificate is active and attached'}>The private key is in this browser only: download it before you close this.</Note>
          <div class="actions">
            <Button icon="download" onClick={() => save(`${thing}.cert.pem`, made.cert)}>Certificate</Button>
            <Button icon="download" onClick={() => save(`${thing}.private.key`, made.key)}>Private key</Button>
          </div>
        </>
      ) : (
        <Field label="Policy" hint="Least privilege lets it use the topics below the thing's name, its shadows and its jobs.">
          {(a) => <select {...a} value={policy} onChange={(e) => setPolicy(e.currentTarget.value)}><option value={least}>Least privilege</option>{policies.value?.map((p) => <option key={p} value={p}>{p}</option>)}</select>}
        </Field>
      )}
      {error ? <Problem error={error} /> : null}
    </Dialog>
  );
}
