import { useState } from 'preact/hooks';
import { iot } from '../../lib/api';
import { ensurePolicy, namePattern } from '../../lib/device';
import { approve, listPending, looked } from '../../lib/provisioning';
import type { Pending } from '../../lib/provisioning';
import { number } from '../../lib/text';
import { subject, subjectText } from '../../lib/x509';
import { Button, Card, Confirm, Dialog, Empty, Field, Loading, Problem, Table, When, toast, useAction, useLoad } from '../../ui/all';
import { listPolicies } from '../policies';

/** PendingCertificates are those that registered themselves and that nobody has let in. */
export function PendingCertificates() {
  const { value, error, reload } = useLoad(listPending, []);
  const [asking, setAsking] = useState<{ c: Pending; what: 'approve' | 'reject' } | undefined>();
  if (error) return <Problem error={error} retry={reload} />;
  if (!value) return <Loading />;
  const again = <Button icon="refresh" onClick={reload}>Look again</Button>;
  return (
    <>
      {value.length ? (
        <Card tight title="Certificates" actions={again}>
          <Table label="Certificates waiting for approval" columns={['Subject', 'Certificate', 'First seen', '']} rows={value.map((c) => ({
            key: c.certificateId,
            cells: [<span dir="auto">{subjectText(c.certificatePem) || '–'}</span>, <code title={c.certificateId}>{c.certificateId.slice(0, 12)}…</code>, <When ms={c.creationDate * 1000} />, <div class="actions">
              <Button changes onClick={() => setAsking({ c, what: 'approve' })}>Approve</Button>
              <Button kind="danger" changes onClick={() => setAsking({ c, what: 'reject' })}>Reject</Button>
            </div>],
          }))} />
        </Card>
      ) : (
        <Card><Empty icon="check" title="Nobody is waiting" actions={again}>Devices of an authority whose new devices wait for approval are listed here when they have tried to connect. The newest {number(looked)} certificates are searched.</Empty></Card>
      )}
      {asking?.what === 'approve' && <Approve certificate={asking.c} close={() => setAsking(undefined)} done={reload} />}
      {asking?.what === 'reject' && <Confirm title="Reject this certificate?" verb="Reject" close={() => setAsking(undefined)} run={async () => {
        await iot.put(`/certificates/${asking.c.certificateId}`, undefined, { query: { newStatus: 'REVOKED' } });
        toast('The certificate is revoked');
        reload();
      }}>It is revoked: the device that holds it stays out for good.</Confirm>}
    </>
  );
}

function Approve({ certificate: c, close, done }: { certificate: Pending; close: () => void; done: () => void }) {
  const least = '(least privilege)';
  const policies = useLoad(listPolicies, []);
  const [thing, setThing] = useState(() => (subject(c.certificatePem).CN ?? '').replace(/[^a-zA-Z0-9:_-]/g, '-').slice(0, 128));
  const [policy, setPolicy] = useState(least);
  const bad = thing && !namePattern.test(thing) ? 'Use letters, digits, and : _ - only.' : '';
  const { act, busy, error } = useAction(async () => {
    await approve(c, thing, policy === least ? await ensurePolicy() : policy);
    toast(`${thing} is let in when it connects again`);
    done();
    close();
  });
  return (
    <Dialog title="Approve device" close={close} actions={<><Button onClick={close}>Cancel</Button><Button kind="primary" busy={busy} disabled={!thing || !!bad} onClick={() => void act()}>Let it in</Button></>}>
      <Field label="Thing" error={bad} hint="Made if there is none. It is also the device's client identifier.">{(a) => <input {...a} value={thing} data-autofocus spellcheck={false} autocomplete="off" onInput={(e) => setThing(e.currentTarget.value.trim())} />}</Field>
      <Field label="Policy" hint="Least privilege lets it use the topics below the thing's name, its shadows and its jobs.">
        {(a) => <select {...a} value={policy} onChange={(e) => setPolicy(e.currentTarget.value)}><option value={least}>Least privilege</option>{policies.value?.map((p) => <option key={p.policyName} value={p.policyName}>{p.policyName}</option>)}</select>}
      </Field>
      {error ? <Problem error={error} /> : null}
    </Dialog>
  );
}
