import { useState } from 'preact/hooks';
import { iot } from '../../lib/api';
import { download } from '../../lib/files';
import { canMakeKeys } from '../../lib/keys';
import { claimArchive, claimPolicy, makeClaim } from '../../lib/provisioning';
import type { Claim } from '../../lib/provisioning';
import { to } from '../../lib/router';
import { moment } from '../../lib/text';
import { Badge, Button, Card, Empty, Loading, Note, Problem, Table, When, toast, useAction, useLoad } from '../../ui/all';
import { claimTargets } from './template';

interface Certificate { certificateId: string; status: string; creationDate: number; validity?: { notAfter: number } }

/** Claims are the certificates that all boards share until they have their own. */
export function Claims({ template }: { template: string }) {
  const { value, error, reload } = useLoad(async () => Promise.all((await claimTargets(template)).map(async (arn) => (await iot.get<{ certificateDescription: Certificate }>(`/certificates/${arn.split('/').pop()}`)).certificateDescription)), [template]);
  const [made, setMade] = useState<Claim | undefined>();
  const make = useAction(async () => {
    if (!canMakeKeys()) throw new Error('This browser makes keys on HTTPS pages and on localhost only. Open the console there.');
    setMade(await makeClaim(template));
    reload();
  });
  const change = useAction(async (id: string, newStatus: string) => {
    await iot.put(`/certificates/${id}`, undefined, { query: { newStatus } });
    toast(newStatus === 'ACTIVE' ? 'Boards with this claim get in again' : 'No board gets in with this claim any more');
    reload();
  });
  if (error) return <Problem error={error} retry={reload} />;
  if (!value) return <Loading />;
  const add = <Button kind="primary" icon="plus" changes busy={make.busy} onClick={() => void make.act()}>New claim certificate</Button>;
  return (
    <>
      {make.error ? <Problem error={make.error} /> : null}
      {made && (
        <Note tone="good" title="The claim certificate is active" actions={<>
          <Button kind="primary" icon="download" onClick={async () => download(`claim-${template}.zip`, await claimArchive(made))}>All files</Button>
          <Button icon="download" onClick={() => download('claim.cert.pem', made.certificatePem)}>Certificate</Button>
          <Button icon="download" onClick={() => download('claim.private.key', made.privateKeyPem)}>Private key</Button>
          <Button icon="download" onClick={() => download('ca.pem', made.caPem)}>CA certificate</Button>
        </>}>Its private key was made in this browser and is stored nowhere: download it now, and put the files on every board.</Note>
      )}
      {value.length ? (
        <Card tight title="Claim certificates" actions={add}>
          <Table label="Claim certificates" columns={['Certificate', 'State', 'Made', 'Valid until', '']} rows={value.map((c) => ({
            key: c.certificateId,
            cells: [<code title={c.certificateId}>{c.certificateId.slice(0, 12)}…</code>, <Badge tone={c.status === 'ACTIVE' ? 'good' : 'warn'}>{c.status}</Badge>, <When ms={c.creationDate * 1000} />, c.validity ? moment(c.validity.notAfter * 1000).slice(0, 10) : '–',
              c.status === 'ACTIVE' ? <Button changes busy={change.busy} onClick={() => void change.act(c.certificateId, 'INACTIVE')}>Deactivate</Button> : c.status === 'INACTIVE' ? <Button changes busy={change.busy} onClick={() => void change.act(c.certificateId, 'ACTIVE')}>Activate</Button> : ''],
          }))} />
          {change.error ? <Problem error={change.error} /> : null}
          <p class="pad hint">They hold the policy <a href={to(['policies', claimPolicy(template)])}>{claimPolicy(template)}</a>, which lets a board ask for its own certificate and for this template, and nothing else.</p>
        </Card>
      ) : (
        <Card><Empty icon="key" title="No claim certificate yet" actions={add}>All boards leave the factory with the same one. On their first start they trade it for a certificate of their own, and this template makes their thing. Its policy allows nothing else.</Empty></Card>
      )}
    </>
  );
}
