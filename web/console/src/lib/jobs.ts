// Jobs and firmware updates: what the server tells of them, and how a roll-out is made.
import { all, berth, iot, seg, server } from './api';

export type State = 'QUEUED' | 'IN_PROGRESS' | 'SUCCEEDED' | 'FAILED' | 'TIMED_OUT' | 'REJECTED' | 'REMOVED' | 'CANCELED';

/** states in the order of a bar, with the member of the counts, the words and the tone. */
export const states: [State, string, string, 'good' | 'bad' | 'warn' | 'info' | 'none'][] = [
  ['SUCCEEDED', 'numberOfSucceededThings', 'succeeded', 'good'], ['IN_PROGRESS', 'numberOfInProgressThings', 'in progress', 'info'], ['QUEUED', 'numberOfQueuedThings', 'queued', 'none'],
  ['FAILED', 'numberOfFailedThings', 'failed', 'bad'], ['TIMED_OUT', 'numberOfTimedOutThings', 'timed out', 'bad'], ['REJECTED', 'numberOfRejectedThings', 'rejected', 'bad'],
  ['CANCELED', 'numberOfCanceledThings', 'canceled', 'warn'], ['REMOVED', 'numberOfRemovedThings', 'removed', 'warn'],
];

export interface Summary { jobId: string; status: string; targetSelection: string; createdAt: number; lastUpdatedAt: number; completedAt?: number }

export interface Job extends Summary {
  jobArn: string;
  description?: string;
  targets: string[];
  comment?: string;
  reasonCode?: string;
  forceCanceled?: boolean;
  jobProcessDetails: Record<string, number | string[]>;
  jobExecutionsRolloutConfig?: { maximumPerMinute?: number };
  abortConfig?: { criteriaList: { failureType: string; thresholdPercentage: number; minNumberOfExecutedThings: number }[] };
  timeoutConfig?: { inProgressTimeoutInMinutes?: number };
  schedulingConfig?: { startTime?: string; endTime?: string; maintenanceWindows?: { startTime: string; durationInMinutes: number }[] };
  presignedUrlConfig?: unknown;
}

export interface Execution { thingArn: string; jobExecutionSummary: { status: State; queuedAt?: number; startedAt?: number; lastUpdatedAt?: number; executionNumber: number; retryAttempt?: number } }

export const thingOf = (arn: string) => arn.slice(arn.indexOf(':thing/') + 7);
export const targetOf = (arn: string) => (arn.includes(':thinggroup/') ? 'group ' + arn.split(':thinggroup/')[1] : thingOf(arn));

export const ended = (status: string) => status === 'COMPLETED' || status === 'CANCELED' || status === 'DELETION_IN_PROGRESS';

export const count = (j: Job, member: string) => Number(j.jobProcessDetails[member] ?? 0);

export const listJobs = async () => {
  const p = await iot.get<{ jobs: Summary[]; nextToken?: string }>('/jobs', { maxResults: 50 });
  return { jobs: await Promise.all(p.jobs.map((j) => getJob(j.jobId).catch(() => ({ ...j, jobProcessDetails: {}, targets: [], jobArn: '' }) as Job))), more: !!p.nextToken };
};

export const getJob = async (id: string) => (await iot.get<{ job: Job }>(`/jobs/${seg(id)}`)).job;

/** failedThings are those of a job's latest executions that did not succeed. */
export const failedThings = async (id: string): Promise<string[]> => {
  const out: string[] = [];
  for (const status of ['FAILED', 'TIMED_OUT', 'REJECTED']) {
    out.push(...(await all(async (nextToken) => {
      const p = await iot.get<{ executionSummaries: Execution[]; nextToken?: string }>(`/jobs/${seg(id)}/things`, { status, maxResults: 250, nextToken });
      return { items: p.executionSummaries.map((x) => x.thingArn), next: p.nextToken };
    })));
  }
  return [...new Set(out)];
};

export const stamp = () => new Date().toISOString().replace(/\D/g, '').slice(0, 14);

const mostTargets = 100; // of a job

/** group makes a thing group of things and returns its ARN. */
async function group(name: string, description: string, things: string[]): Promise<string> {
  const { thingGroupArn } = await iot.post<{ thingGroupArn: string }>(`/thing-groups/${seg(name)}`, { thingGroupProperties: { thingGroupDescription: description } });
  const rest = [...things];
  const add = async () => {
    for (let arn = rest.pop(); arn; arn = rest.pop()) await iot.put('/thing-groups/addThingToThingGroup', { thingGroupName: name, thingArn: arn });
  };
  await Promise.all(Array.from({ length: 8 }, add));
  return thingGroupArn;
}

/** retryFailed makes a job with the same document for the things that failed; a thing group holds them if they are too many for targets. */
export async function retryFailed(j: Job): Promise<string> {
  let targets = await failedThings(j.jobId);
  if (!targets.length) throw new Error('No thing of this job has failed.');
  const { document } = await iot.get<{ document: string }>(`/jobs/${seg(j.jobId)}/job-document`);
  const jobId = `${j.jobId.replace(/-retry-\d+$/, '').slice(0, 42)}-retry-${stamp()}`;
  const description = `Again for what failed of ${j.jobId}`;
  if (targets.length > mostTargets) targets = [await group(jobId, description, targets)];
  await iot.put(`/jobs/${seg(jobId)}`, { targets, document, description, jobExecutionsRolloutConfig: j.jobExecutionsRolloutConfig, timeoutConfig: j.timeoutConfig, presignedUrlConfig: j.presignedUrlConfig });
  return jobId;
}

export interface Signer { name: string; algorithm: string; certificatePathOnDevice: string; certificatePem: string }

export interface Rollout {
  id: string;
  file: File;
  signer: string; // '' for none
  things: string[];
  groups: string[];
  continuous: boolean;
  protocol: 'MQTT' | 'HTTP';
  rate?: number; // things per minute
  abort?: { percent: number; after: number };
  timeout?: number; // minutes
  start?: string; // UTC
  window?: { cron: string; minutes: number };
}

const hex = (b: ArrayBuffer) => [...new Uint8Array(b)].map((x) => x.toString(16).padStart(2, '0')).join('');

const role = 'arn:aws:iam::000000000000:role/ota'; // wanted by AWS's API, not used here

/** rollOut uploads, signs and starts; it returns the job. tell hears what is being done. */
export async function rollOut(r: Rollout, tell: (what: string) => void): Promise<string> {
  tell('Reading the file');
  const content = await r.file.arrayBuffer();
  const sha256 = hex(await crypto.subtle.digest('SHA-256', content));
  tell('Uploading');
  const name = r.file.name.replace(/[^\w.-]+/g, '-');
  const stored = await berth.put<{ name: string; version: number; size: number }>(`/files/${seg(name)}`, new Uint8Array(content), { headers: { 'X-Amz-Content-Sha256': sha256, 'Content-Type': 'application/octet-stream' } });
  const { region, account } = (await server()).server;
  const targets = [...r.things.map((t) => `arn:aws:iot:${region}:${account}:thing/${t}`), ...r.groups.map((g) => `arn:aws:iot:${region}:${account}:thinggroup/${g}`)];
  const criteria = r.abort && [{ failureType: 'ALL', action: 'CANCEL', thresholdPercentage: r.abort.percent, minNumberOfExecutedThings: r.abort.after }];
  const common = { targets, targetSelection: r.continuous ? 'CONTINUOUS' : 'SNAPSHOT' };
  const rollout = r.rate ? { maximumPerMinute: r.rate } : undefined;
  const timeout = r.timeout ? { inProgressTimeoutInMinutes: r.timeout } : undefined;
  const location = { bucket: 'berth', key: stored.name, version: String(stored.version) };
  const jobId = 'AFR_OTA-' + r.id;
  if (!r.start && !r.window) {
    tell('Making the update');
    await iot.post(`/otaUpdates/${seg(r.id)}`, {
      ...common, roleArn: role, protocols: [r.protocol], awsJobExecutionsRolloutConfig: rollout, awsJobAbortConfig: criteria && { abortCriteriaList: criteria }, awsJobTimeoutConfig: timeout,
      files: [{ fileName: stored.name, fileType: 0, fileLocation: { s3Location: location }, codeSigning: r.signer ? { startSigningJobParameter: { signingProfileName: r.signer } } : undefined }],
    });
    for (let n = 0; n < 120; n++) {
      const { otaUpdateInfo: u } = await iot.get<{ otaUpdateInfo: { otaUpdateStatus: string; errorInfo?: { message: string } } }>(`/otaUpdates/${seg(r.id)}`);
      if (u.otaUpdateStatus === 'CREATE_COMPLETE') return jobId;
      if (u.otaUpdateStatus === 'CREATE_FAILED') throw new Error(u.errorInfo?.message ?? 'The update could not be made.');
      await new Promise((done) => setTimeout(done, 250));
    }
    return jobId;
  }
  // An OTA update of AWS's API has no schedule, a job has one: the same stream and document, with it.
  const file: Record<string, unknown> = { filepath: stored.name, filesize: stored.size, fileid: 0, fileType: 0 };
  if (r.signer) {
    tell('Signing');
    const signer = await berth.get<Signer>(`/signers/${seg(r.signer)}`);
    const { signature } = await berth.post<{ signature: string }>(`/signers/${seg(r.signer)}/signatures`, { sha256 });
    file.certfile = signer.certificatePathOnDevice;
    file[`sig-sha256-${signer.algorithm.startsWith('rsa') ? 'rsa' : 'ecdsa'}`] = signature;
  }
  const ota: Record<string, unknown> = { protocols: [r.protocol], files: [file] };
  if (r.protocol === 'MQTT') {
    tell('Making the stream');
    await iot.post(`/streams/${seg(jobId)}`, { roleArn: role, files: [{ fileId: 0, s3Location: location }] });
    ota.streamname = jobId;
  } else {
    file.update_data_url = '${aws:iot:s3-presigned-url:berth://' + stored.name + '?versionId=' + stored.version + '}';
    file.auth_scheme = 'aws.s3.presigned';
  }
  tell('Making the job');
  await iot.put(`/jobs/${seg(jobId)}`, {
    ...common, document: JSON.stringify({ afr_ota: ota }), jobExecutionsRolloutConfig: rollout, abortConfig: criteria && { criteriaList: criteria }, timeoutConfig: timeout,
    presignedUrlConfig: r.protocol === 'HTTP' ? { roleArn: role, expiresInSec: 3600 } : undefined,
    schedulingConfig: { startTime: r.start, maintenanceWindows: r.window && [{ startTime: r.window.cron, durationInMinutes: r.window.minutes }] },
  });
  return jobId;
}
