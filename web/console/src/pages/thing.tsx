import { useEffect, useState } from 'preact/hooks';
import { berth, iot, seg } from '../lib/api';
import { watch } from '../lib/live';
import { go, place, setQuery, to } from '../lib/router';
import { removeThing } from '../lib/things';
import { disconnectWords } from '../lib/text';
import { Badge, Button, Confirm, Icon, Loading, Page, Problem, TabPanel, Tabs, When, toast, useLoad } from '../ui/all';
import type { PageProps } from './table';
import { Overview } from './thing/overview';
import { Certificates } from './thing/certificates';
import { History } from './thing/history';
import { Jobs } from './thing/jobs';
import { Shadows } from './thing/shadows';

export interface Description {
  thingName: string;
  thingId: string;
  thingArn: string;
  thingTypeName?: string;
  attributes: Record<string, string>;
  version: number;
  billingGroupName?: string;
}

const tabs = [['overview', 'Overview'], ['shadow', 'Shadows'], ['certificates', 'Certificates'], ['jobs', 'Jobs'], ['history', 'History']] as const;
type Tab = (typeof tabs)[number][0];

export interface Connection { connected?: boolean; at?: number; reason?: string; ip?: string }

/** useConnection follows whether a thing is connected. */
function useConnection(name: string): Connection {
  const [c, set] = useState<Connection>({});
  useEffect(() => {
    set({});
    berth.get<{ events: { eventType: string; timestamp: number; disconnectReason?: string; ipAddress?: string }[] }>('/connections', { name, max: 20 }).then(async ({ events }) => {
      const e = events.find((x) => x.eventType !== 'connect_failed');
      if (e) return set((now) => (now.at && now.at > e.timestamp ? now : { connected: e.eventType === 'connected', at: e.timestamp, reason: e.disconnectReason, ip: e.ipAddress }));
      // From before the server's start only the fleet index knows.
      const k = await iot.post<{ connected: boolean; timestamp: number; disconnectReason?: string }>(`/things/${seg(name)}/connectivity-data`).catch(() => undefined);
      set(k ? { connected: k.connected, at: new Date(k.timestamp as number).getTime() < 1e11 ? k.timestamp * 1000 : k.timestamp, reason: k.disconnectReason } : { connected: false });
    }).catch(() => set({}));
    const ends = ['connected', 'disconnected'].map((kind) => watch(`$aws/events/presence/${kind}/${name}`, (m) => {
      const e = JSON.parse(new TextDecoder().decode(m.payload));
      set({ connected: kind === 'connected', at: e.timestamp, reason: e.disconnectReason, ip: e.ipAddress });
    }));
    return () => ends.forEach((end) => end());
  }, [name]);
  return c;
}

export default function Thing({ path }: PageProps) {
  const name = path[0];
  const tab = (tabs.find(([k]) => k === place.value.query.get('tab'))?.[0] ?? 'overview') as Tab;
  const { value: thing, error, reload } = useLoad(() => iot.get<Description>(`/things/${seg(name)}`), [name]);
  const connection = useConnection(name);
  const [deleting, setDeleting] = useState(false);
  const back = { href: to(['things']), text: 'Things' };
  if (error) return <Page title={name} back={back}><Problem error={error} retry={reload} /></Page>;
  if (!thing) return <Page title={name} back={back}><Loading /></Page>;
  return (
    <Page title={name} back={back} lead={<State c={connection} />} actions={<>
      <a class="button" href={to(['client'], { filter: `${name}/#` })}><Icon name="client" size={18} /><span>Listen</span></a>
      <Button icon="trash" kind="danger" changes onClick={() => setDeleting(true)}>Delete</Button>
    </>}>
      <Tabs label={`About ${name}`} tabs={tabs.map(([k, t]) => [k, t])} current={tab} select={(k) => setQuery({ tab: k === 'overview' ? undefined : k, shadow: undefined })} />
      <TabPanel current={tab}>
        {tab === 'overview' && <Overview thing={thing} reload={reload} />}
        {tab === 'shadow' && <Shadows thing={name} />}
        {tab === 'certificates' && <Certificates thing={name} />}
        {tab === 'jobs' && <Jobs thing={name} />}
        {tab === 'history' && <History thing={name} />}
      </TabPanel>
      {deleting && <Confirm title={`Delete ${name}?`} verb="Delete" close={() => setDeleting(false)} run={async () => {
        await removeThing(name);
        toast(`${name} is deleted`);
        go(['things']);
      }}>Its certificates are detached and stay in the registry; its shadows and job executions are gone. This cannot be undone.</Confirm>}
    </Page>
  );
}

function State({ c }: { c: Connection }) {
  return (
    <span class="inline" aria-live="polite" data-connected={String(c.connected)}>
      {c.connected ? <Badge tone="good"><span class="dot good" /> Connected</Badge> : <Badge><span class="dot" /> Not connected</Badge>}
      {c.at ? <span>{c.connected ? 'since' : 'left'} <When ms={c.at} />{c.connected ? (c.ip ? `, from ${c.ip}` : '') : c.reason ? `: ${disconnectWords[c.reason] ?? c.reason}` : ''}</span> : c.connected === false ? 'It has never connected.' : ''}
    </span>
  );
}
