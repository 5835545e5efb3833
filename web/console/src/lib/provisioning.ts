// Provisioning templates, the claim certificates that lead to them, and authorities.
import { ApiError, all, iot, seg, server } from './api';
import { zip } from './files';
import { makeKey } from './keys';
import { parse, pretty } from './text';

export type Kind = 'FLEET_PROVISIONING' | 'JITP';

export const kinds: Record<Kind, string> = { FLEET_PROVISIONING: 'claim certificate', JITP: 'own authority' };

export interface TemplateSummary { templateName: string; description?: string; enabled: boolean; type: Kind; creationDate: number }

export interface Template extends TemplateSummary {
  templateArn: string;
  templateBody: string;
  defaultVersionId: number;
  preProvisioningHook?: { payloadVersion?: string; targetArn: string };
}

/** role is what AWS asks for; berth keeps it and needs none. */
export async function role(): Promise<string> {
  return `arn:aws:iam::${(await server()).server.account}:role/berth`;
}

export const listTemplates = () => all(async (nextToken) => {
  const p = await iot.get<{ templates: TemplateSummary[]; nextToken?: string }>('/provisioning-templates', { maxResults: 250, nextToken });
  return { items: p.templates, next: p.nextToken };
});

/** defaultBody makes a thing named after the serial number, activates the certificate and gives it a policy. */
export function defaultBody(kind: Kind, policy: string): string {
  const claim = kind === 'FLEET_PROVISIONING';
  const name = claim ? 'SerialNumber' : 'AWS::IoT::Certificate::CommonName';
  const parameters: Record<string, unknown> = claim ? { SerialNumber: { Type: 'String' }, MAC: { Type: 'String', Default: '' } } : { 'AWS::IoT::Certificate::CommonName': { Type: 'String' } };
  parameters['AWS::IoT::Certificate::Id'] = { Type: 'String' };
  return pretty({
    Parameters: parameters,
    Resources: {
      thing: { Type: 'AWS::IoT::Thing', Properties: { ThingName: { Ref: name } } },
      certificate: { Type: 'AWS::IoT::Certificate', Properties: { CertificateId: { Ref: 'AWS::IoT::Certificate::Id' }, Status: 'ACTIVE' } },
      policy: { Type: 'AWS::IoT::Policy', Properties: { PolicyName: policy } },
    },
  });
}

/** checkBody says what is wrong with a template before the server does. */
export function checkBody(text: string): { text: string; line?: number } | undefined {
  const { value, error, line } = parse(text);
  if (error) return { text: error, line };
  if (typeof value !== 'object' || !value || Array.isArray(value) || typeof value.Resources !== 'object') return { text: 'A template is a JSON object with Resources, and Parameters that the device gives.' };
  if (new TextEncoder().encode(text).length > 10240) return { text: 'A template has at most 10240 bytes.' };
  return undefined;
}

export const claimPolicy = (template: string) => `claim-${template}`;

/** claimDocument lets a device ask for a certificate of its own and for this template, and nothing else. */
export async function claimDocument(template: string): Promise<string> {
  const { region, account } = (await server()).server;
  const arn = (resource: string) => `arn:aws:iot:${region}:${account}:${resource}`;
  const topics = ['$aws/certificates/create/*', '$aws/certificates/create-from-csr/*', `$aws/provisioning-templates/${template}/provision/*`];
  return pretty({
    Version: '2012-10-17',
    Statement: [
      { Sid: 'Connect', Effect: 'Allow', Action: ['iot:Connect'], Resource: ['*'] },
      { Sid: 'Ask', Effect: 'Allow', Action: ['iot:Publish', 'iot:Receive'], Resource: topics.map((t) => arn(`topic/${t}`)) },
      { Sid: 'Listen', Effect: 'Allow', Action: ['iot:Subscribe'], Resource: topics.map((t) => arn(`topicfilter/${t}`)) },
    ],
  });
}

export interface Claim { certificateId: string; certificateArn: string; certificatePem: string; privateKeyPem: string; caPem: string; template: string }

/** makeClaim makes a claim certificate whose key comes from this browser. */
export async function makeClaim(template: string): Promise<Claim> {
  const policy = claimPolicy(template);
  try {
    await iot.get(`/policies/${seg(policy)}`);
  } catch (e) {
    if (!(e instanceof ApiError) || e.status !== 404) throw e;
    await iot.post(`/policies/${seg(policy)}`, { policyDocument: await claimDocument(template) });
  }
  const key = await makeKey(`claim ${template}`);
  const c = await iot.post<{ certificateId: string; certificateArn: string; certificatePem: string }>('/certificates', { certificateSigningRequest: key.csrPem }, { query: { setAsActive: true } });
  await iot.put(`/target-policies/${seg(policy)}`, { target: c.certificateArn });
  return { ...c, privateKeyPem: key.privateKeyPem, caPem: (await server()).certificateAuthorityPem, template };
}

export async function claimArchive(c: Claim): Promise<Uint8Array> {
  const s = (await server()).server;
  return zip({
    [`claim-${c.template}/claim.cert.pem`]: c.certificatePem,
    [`claim-${c.template}/claim.private.key`]: c.privateKeyPem,
    [`claim-${c.template}/ca.pem`]: c.caPem,
    [`claim-${c.template}/README.txt`]: `Claim certificate for the provisioning template ${c.template}

endpoint  ${s.endpoint}
port      ${s.mqttPort}
template  ${c.template}

Every board gets these same files. On its first start it connects with them, asks
$aws/certificates/create-from-csr/json for a certificate of its own, and sends the token
of the answer with its parameters to $aws/provisioning-templates/${c.template}/provision/json.
The policy allows nothing else. Make another claim and deactivate this one when it leaks.
`,
  });
}

export interface Authority {
  certificateId: string;
  certificateArn: string;
  status: 'ACTIVE' | 'INACTIVE';
  certificatePem: string;
  creationDate: number;
  autoRegistrationStatus: 'ENABLE' | 'DISABLE';
  certificateMode: 'DEFAULT' | 'SNI_ONLY';
  validity: { notBefore: number; notAfter: number };
  template?: string;
}

export async function listAuthorities(): Promise<Authority[]> {
  const list = await all(async (marker) => {
    const p = await iot.get<{ certificates: { certificateId: string }[]; nextMarker?: string }>('/cacertificates', { pageSize: 250, marker });
    return { items: p.certificates, next: p.nextMarker };
  });
  return Promise.all(list.map(async ({ certificateId }) => {
    const d = await iot.get<{ certificateDescription: Authority; registrationConfig?: { templateName?: string } }>(`/cacertificate/${certificateId}`);
    return { ...d.certificateDescription, template: d.registrationConfig?.templateName };
  }));
}

export interface Activation { subjects?: string[]; approval?: string; policies?: string[]; thingName?: string }

export interface Pending { certificateId: string; certificateArn: string; certificatePem: string; creationDate: number; caCertificateId?: string }

/** looked is how many of the newest certificates are searched for pending ones. */
export const looked = 5000;

export async function listPending(): Promise<Pending[]> {
  const list = await all(async (marker) => {
    const p = await iot.get<{ certificates: { certificateId: string; status: string }[]; nextMarker?: string }>('/certificates', { pageSize: 250, marker, isAscendingOrder: false });
    return { items: p.certificates, next: p.nextMarker };
  }, looked);
  const pending = await Promise.all(list.filter((c) => c.status === 'PENDING_ACTIVATION').slice(0, 500).map(async (c) => (await iot.get<{ certificateDescription: Pending }>(`/certificates/${c.certificateId}`)).certificateDescription));
  // Those of the server's own authority were asked for with a claim, and wait for their device instead.
  return pending.filter((c) => c.caCertificateId);
}

/** approve makes the thing if there is none, gives the certificate the policy, and lets it in. */
export async function approve(c: Pending, thing: string, policy: string): Promise<void> {
  try {
    await iot.get(`/things/${seg(thing)}`);
  } catch (e) {
    if (!(e instanceof ApiError) || e.status !== 404) throw e;
    await iot.post(`/things/${seg(thing)}`, {});
  }
  await iot.put(`/things/${seg(thing)}/principals`, undefined, { headers: { 'x-amzn-principal': c.certificateArn } });
  await iot.put(`/target-policies/${seg(policy)}`, { target: c.certificateArn });
  await iot.put(`/certificates/${c.certificateId}`, undefined, { query: { newStatus: 'ACTIVE' } });
}
