// Rules: what the server tells of them, and the forms of their actions.
import { ApiError, all, berth, iot, seg } from './api';
import type { Json } from './text';

export type Action = Record<string, Record<string, Json>>;

export interface Rule {
  ruleName: string;
  sql: string;
  awsIotSqlVersion?: string;
  description?: string;
  ruleDisabled?: boolean;
  createdAt?: number;
  actions: Action[];
  errorAction?: Action;
}

export interface Summary { ruleName: string; ruleArn: string; topicPattern?: string; createdAt: number; ruleDisabled: boolean }

export interface ActionStats { action: string; delivered: number; failed: number; latency: { count: number; p50Seconds: number; p99Seconds: number } }

export interface Stats {
  ruleName: string;
  matched: number;
  whereFalse: number;
  failed: number;
  retried: number;
  dropped: number;
  delivered: number;
  waiting: number;
  dead: number;
  lastError?: string;
  lastErrorAt?: string;
  actions?: ActionStats[];
}

export interface DeadLetter { id: number; action: string; error: string; createdAt: string; diedAt: string; payload: string }

export const listRules = () => all(async (token) => {
  const p = await iot.get<{ rules: Summary[]; nextToken?: string }>('/rules', { maxResults: 1000, nextToken: token });
  return { items: p.rules, next: p.nextToken };
});

export const stats = async () => new Map((await berth.get<{ rules: Stats[] }>('/rules')).rules.map((s) => [s.ruleName, s]));

export const getRule = async (name: string) => (await iot.get<{ ruleArn: string; rule: Rule }>(`/rules/${seg(name)}`));

/** p50 and p99 are those of the slowest kind of action, in seconds. */
export function latency(s?: Stats): { p50: number; p99: number } | undefined {
  const seen = (s?.actions ?? []).map((a) => a.latency).filter((l) => l?.count);
  return seen.length ? { p50: Math.max(...seen.map((l) => l.p50Seconds)), p99: Math.max(...seen.map((l) => l.p99Seconds)) } : undefined;
}

export const seconds = (s: number) => (s < 1 ? `${(s * 1000).toFixed(s < 0.01 ? 1 : 0)} ms` : `${s.toFixed(1)} s`);

/** Actions of AWS's that want a role. It is accepted and ignored here. */
const wantsRole = ['dynamoDB', 'dynamoDBv2', 'sns', 'sqs', 'kinesis', 'republish', 's3', 'firehose', 'cloudwatchMetric', 'cloudwatchAlarm', 'cloudwatchLogs', 'elasticsearch', 'openSearch', 'iotAnalytics', 'iotEvents', 'iotSiteWise', 'stepFunctions', 'timestream', 'location'];

const withRole = (a: Action): Action => {
  const kind = Object.keys(a)[0];
  return wantsRole.includes(kind) && !a[kind]?.roleArn ? { ...a, [kind]: { roleArn: 'arn:aws:iam::000000000000:role/rule', ...a[kind] } } : a;
};

/** payload is what CreateTopicRule and ReplaceTopicRule take. */
export const payload = (r: Rule) => ({ sql: r.sql, awsIotSqlVersion: r.awsIotSqlVersion, description: r.description ?? '', ruleDisabled: !!r.ruleDisabled, actions: r.actions.map(withRole), errorAction: r.errorAction && withRole(r.errorAction) });

/** place reads where a statement is wrong. */
export function placeOf(e: unknown): { line: number; column: number; message: string } | undefined {
  if (!(e instanceof ApiError) || e.kind !== 'SqlParseException') return undefined;
  const m = /line (\d+), column (\d+): ([^]*)/.exec(e.message);
  return m ? { line: Number(m[1]), column: Number(m[2]), message: m[3] } : undefined;
}

export interface DryRun {
  topicPattern: string;
  warnings?: string[];
  matched: boolean;
  reason?: 'topic' | 'where';
  error?: string;
  undefined?: boolean;
  result?: Json;
  resultBase64?: string;
  templates?: Record<string, string>;
  steps?: { depth: number; clause?: string; expression: string; line: number; column: number; value?: string }[];
}

export const dryRun = (q: { sql: string; awsIotSqlVersion?: string; topic?: string; payload?: string; payloadBase64?: string; templates?: string[] }, signal?: AbortSignal) =>
  berth.post<DryRun>('/rules/test', q, { signal });

/** templatesOf are the strings of actions that hold a substitution template. */
export function templatesOf(v: Json | undefined, into: string[] = []): string[] {
  if (typeof v === 'string') {
    if (v.includes('${') && !into.includes(v) && into.length < 50) into.push(v);
  } else if (Array.isArray(v)) v.forEach((x) => templatesOf(x, into));
  else if (v && typeof v === 'object') Object.values(v).forEach((x) => templatesOf(x, into));
  return into;
}

export interface FormField {
  path: string[]; // in the action's document
  label: string;
  hint?: string;
  required?: boolean;
  options?: string[]; // a choice; the first is the default, left out of the document
  flag?: boolean;
  numeric?: boolean;
  names?: boolean; // words with spaces or commas between, kept as an array
  secret?: boolean;
}

export interface ActionForm { title: string; says: string; fields: FormField[] }

const f = (path: string, label: string, more: Partial<FormField> = {}): FormField => ({ path: path.split('/'), label, ...more });

export const forms: Record<string, ActionForm> = {
  republish: { title: 'Republish to a topic', says: 'Publishes the result to another topic.', fields: [
    f('topic', 'Topic', { required: true, hint: 'May hold ${…}, such as hot/${topic(2)}. A reserved topic begins with $$.' }), f('qos', 'QoS', { options: ['0', '1'], numeric: true })] },
  table: { title: 'Keep in a table', says: 'Each member of the result becomes a measure of a table under Data.', fields: [
    f('table', 'Table', { required: true }), f('thing', 'Thing', { hint: 'Empty: the thing of the client’s certificate. Or a template, such as ${topic(2)}.' }),
    f('timestamp', 'Time', { hint: 'Empty: when the message came. Or a template in milliseconds, such as ${ts}.' }), f('measures', 'Only these members', { names: true, hint: 'Empty: all of them.' })] },
  http: { title: 'Send to a URL', says: 'Posts the result over HTTPS to a destination that has confirmed that it wants it.', fields: [
    f('url', 'URL', { required: true }), f('confirmationUrl', 'Confirmed destination', { hint: 'Empty if it is the URL itself.' }), f('enableBatching', 'Several messages in one request, as an array', { flag: true })] },
  lambda: { title: 'Call a Lambda function', says: 'Invokes a function with the result.', fields: [f('functionArn', 'ARN of the function', { required: true })] },
  sqs: { title: 'Send to an SQS queue', says: 'Puts the result into a queue.', fields: [f('queueUrl', 'URL of the queue', { required: true }), f('useBase64', 'In base64', { flag: true })] },
  s3: { title: 'Write to S3', says: 'Writes the result as an object of a bucket.', fields: [f('bucketName', 'Bucket', { required: true }), f('key', 'Key', { required: true, hint: 'Such as ${topic()}/${timestamp()}.' })] },
  dynamoDBv2: { title: 'Put into DynamoDB', says: 'Writes the members of the result as an item; the result must hold the table’s keys.', fields: [f('putItem/tableName', 'Table', { required: true })] },
  postgres: { title: 'Insert into PostgreSQL', says: 'Each member of the result goes into the column of its name.', fields: [
    f('connection', 'Connection', { hint: 'A name of berth serve --rule-databases, which keeps the password out of the rule.' }), f('url', 'or URL', { hint: 'postgres://user:password@host/database' }), f('table', 'Table', { required: true }),
    f('idColumn', 'Column for the message’s identifier', { hint: 'Makes a second delivery harmless.' }), f('timeColumn', 'Column for the time'), f('createTable', 'Make the table and the columns that it lacks', { flag: true })] },
  kafka: { title: 'Send to Kafka', says: 'Writes the result as a record of a Kafka topic.', fields: [
    f('clientProperties/bootstrap.servers', 'Brokers', { required: true, hint: 'host:port, several with commas.' }), f('topic', 'Topic', { required: true }), f('key', 'Key', { hint: 'Such as ${topic(2)}: what has the same key stays in order.' }),
    f('clientProperties/acks', 'Acknowledged by', { options: ['all', '1', '0'] }), f('clientProperties/security.protocol', 'Security', { options: ['PLAINTEXT', 'SSL', 'SASL_SSL', 'SASL_PLAINTEXT'] }),
    f('clientProperties/sasl.mechanism', 'SASL mechanism', { options: ['', 'PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'] })] },
};

export const kindOf = (a: Action) => Object.keys(a)[0] ?? '';

export function read(doc: Record<string, Json>, path: string[]): Json | undefined {
  let v: Json | undefined = doc;
  for (const k of path) v = v && typeof v === 'object' && !Array.isArray(v) ? v[k] : undefined;
  return v;
}

/** write returns the document with a value, or without it if that is undefined. */
export function write(doc: Record<string, Json>, [k, ...rest]: string[], value: Json | undefined): Record<string, Json> {
  const out = { ...doc };
  if (rest.length) {
    const inner = write((out[k] ?? {}) as Record<string, Json>, rest, value);
    if (Object.keys(inner).length) out[k] = inner;
    else delete out[k];
  } else if (value === undefined) delete out[k];
  else out[k] = value;
  return out;
}

/** plain reports whether a form shows everything that an action holds. */
export function plain(a: Action): boolean {
  const form = forms[kindOf(a)];
  if (!form) return false;
  let left = a[kindOf(a)];
  for (const x of form.fields) {
    const v = read(left, x.path);
    if (v !== undefined && typeof v === 'object' && !(x.names && Array.isArray(v))) return false;
    left = write(left, x.path, undefined);
  }
  return Object.keys(left).every((k) => k === 'roleArn');
}
