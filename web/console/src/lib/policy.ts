// Policy documents: what a least-privilege one looks like, and what is wrong with one that is not.
import { parse } from './text';
import type { Json } from './text';

export interface Place { region: string; account: string }

/** leastPrivilege lets a device connect under its thing's name while its certificate is attached to
 *  that thing, and use the topics below its name, its shadows and its jobs. It fits every thing. */
export function leastPrivilege(p: Place): string {
  const arn = (resource: string) => `arn:aws:iot:${p.region}:${p.account}:${resource}`;
  const thing = '${iot:Connection.Thing.ThingName}';
  const own = [`${thing}/*`, `$aws/things/${thing}/shadow/*`, `$aws/things/${thing}/jobs/*`];
  return JSON.stringify({
    Version: '2012-10-17',
    Statement: [
      { Sid: 'Connect', Effect: 'Allow', Action: ['iot:Connect'], Resource: [arn(`client/${thing}`)], Condition: { Bool: { 'iot:Connection.Thing.IsAttached': 'true' } } },
      { Sid: 'Publish', Effect: 'Allow', Action: ['iot:Publish'], Resource: own.map((t) => arn(`topic/${t}`)) },
      { Sid: 'Receive', Effect: 'Allow', Action: ['iot:Receive'], Resource: own.map((t) => arn(`topic/${t}`)) },
      { Sid: 'Subscribe', Effect: 'Allow', Action: ['iot:Subscribe'], Resource: own.map((t) => arn(`topicfilter/${t}`)) },
    ],
  }, null, 2);
}

export interface Finding {
  tone: 'bad' | 'warn';
  text: string;
  line?: number;
  /** replace: the least-privilege document would be better */
  replace?: boolean;
}

const list = (v: Json | undefined): string[] => (Array.isArray(v) ? v.map(String) : v === undefined ? [] : [String(v)]);

/** check finds what the server would refuse and what allows more than it looks. */
export function check(text: string): Finding[] {
  const { value, error, line } = parse(text);
  if (error) return [{ tone: 'bad', text: error, line }];
  const doc = value as { [k: string]: Json };
  if (typeof doc !== 'object' || doc === null || Array.isArray(doc)) return [{ tone: 'bad', text: 'A policy is a JSON object with Version and Statement.' }];
  const found: Finding[] = [];
  const at = (what: string) => {
    const i = text.indexOf(what);
    return i < 0 ? undefined : text.slice(0, i).split('\n').length;
  };
  if (doc.Version !== '2012-10-17') found.push({ tone: doc.Version === undefined ? 'bad' : 'warn', text: 'Version should be "2012-10-17": with another one, variables such as ${iot:Connection.Thing.ThingName} are plain text.', line: at('"Version"') });
  const statements = (Array.isArray(doc.Statement) ? doc.Statement : doc.Statement ? [doc.Statement] : []) as { [k: string]: Json }[];
  if (!statements.length) found.push({ tone: 'bad', text: 'There is no Statement, so the policy allows nothing.' });
  statements.forEach((s, i) => {
    const name = typeof s?.Sid === 'string' && s.Sid ? `Statement ${s.Sid}` : `Statement ${i + 1}`;
    const line = typeof s?.Sid === 'string' ? at(`"${s.Sid}"`) : undefined;
    if (!s || typeof s !== 'object') return found.push({ tone: 'bad', text: `${name} is not an object.` });
    if (s.Effect !== 'Allow' && s.Effect !== 'Deny') found.push({ tone: 'bad', text: `${name} needs "Effect": "Allow" or "Deny".`, line });
    if (s.Action === undefined && s.NotAction === undefined) found.push({ tone: 'bad', text: `${name} has no Action.`, line });
    if (s.Resource === undefined && s.NotResource === undefined) found.push({ tone: 'bad', text: `${name} has no Resource.`, line });
    const actions = list(s.Action);
    const resources = list(s.Resource);
    if (s.Effect === 'Allow') {
      const every = resources.includes('*') || resources.some((r) => /^arn:aws:iot:[^:]*:[^:]*:\*$/.test(r));
      if (actions.some((a) => a === '*' || a.toLowerCase() === 'iot:*') && every) found.push({ tone: 'warn', text: `${name} allows everything to every device that has this policy: each can read and send as any other. One stolen device is the whole fleet.`, line: line ?? at('"*"'), replace: true });
      else if (every) found.push({ tone: 'warn', text: `${name} allows ${actions.join(', ')} on every resource. Name the client, topic or topicfilter, with variables for the device's own.`, line, replace: true });
    }
    for (const r of resources) {
      if (actions.some((a) => /^iot:Subscribe$/i.test(a)) && /:topic\//.test(r) && actions.length === 1) found.push({ tone: 'warn', text: `${name}: iot:Subscribe is about topicfilter/…, so ${r} never matches.`, line: at(r) });
      if (actions.every((a) => /^iot:(Publish|Receive)$/i.test(a)) && actions.length && /:topicfilter\//.test(r)) found.push({ tone: 'warn', text: `${name}: ${actions.join(' and ')} is about topic/…, so ${r} never matches.`, line: at(r) });
      if (/[#+]/.test(r) && /:(topic)\//.test(r)) found.push({ tone: 'warn', text: `${name}: in a topic, # and + are not wildcards; write *.`, line: at(r) });
      if (r !== '*' && !r.startsWith('arn:')) found.push({ tone: 'warn', text: `${name}: ${r} is no ARN, so it never matches. It begins with arn:aws:iot:REGION:ACCOUNT:`, line: at(r) });
    }
    return undefined;
  });
  return found;
}
