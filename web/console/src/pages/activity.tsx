import { useState } from 'preact/hooks';
import { berth } from '../lib/api';
import { place, setQuery, to } from '../lib/router';
import { disconnectWords, moment, prettyText, visible } from '../lib/text';
import { Badge, Button, Card, Dialog, Empty, Fact, Facts, Loading, Page, Problem, Stamp, TabPanel, Table, Tabs, useLoad } from '../ui/all';

type Tab = 'changes' | 'denials' | 'connections';

export default function Activity() {
  const tab = (place.value.query.get('tab') ?? 'changes') as Tab;
  return (
    <Page title="Activity" lead="Who changed what in this console, what the server refused and why, and who came and went.">
      <Tabs label="Activity" tabs={[['changes', 'Changes'], ['denials', 'Denials'], ['connections', 'Connections']]} current={tab} select={(k) => setQuery({ tab: k === 'changes' ? undefined : k })} />
      <TabPanel current={tab}>{tab === 'changes' ? <Changes /> : tab === 'denials' ? <Denials /> : <Connections />}</TabPanel>
    </Page>
  );
}

interface Entry { id: number; timestamp: number; user: string; role: string; sourceIp: string; operation: string; method: string; path: string; status: number; request?: string; before?: string; after?: string }

const who = (user: string) => (user === 'console' ? 'console password' : user);

function Changes() {
  const [before, setBefore] = useState<number[]>([]);
  const [looking, setLooking] = useState<Entry | undefined>();
  const { value, error, reload } = useLoad(() => berth.get<{ entries: Entry[] }>('/audit-log', { max: 100, before: before[before.length - 1] }), [before]);
  if (error) return <Problem error={error} retry={reload} />;
  if (!value) return <Loading />;
  return (
    <Card tight title="Changes" actions={<>
      <Button disabled={!before.length} onClick={() => setBefore(before.slice(0, -1))}>Newer</Button>
      <Button disabled={value.entries.length < 100} onClick={() => setBefore([...before, value.entries[99].id])}>Older</Button>
    </>}>
      {value.entries.length ? (
        <Table label="Changes" columns={['When', 'Who', 'What', 'Where', '']} rows={value.entries.map((e) => ({
          key: e.id,
          cells: [<Stamp ms={e.timestamp} />, <span dir="auto">{who(e.user)}</span>, <span class="inline"><strong>{e.operation}</strong>{e.status >= 400 && <Badge tone="bad">{e.status}</Badge>}</span>, <code dir="auto">{readable(e.path)}</code>,
            e.request || e.before || e.after ? <Button onClick={() => setLooking(e)}>Details</Button> : ''],
        }))} />
      ) : <Empty icon="activity" title="No changes yet">Everything that somebody changes in this console is written down here, with what it was before and after.</Empty>}
      {looking && (
        <Dialog wide title={looking.operation} close={() => setLooking(undefined)}>
          <Facts>
            <Fact name="When">{moment(looking.timestamp)}</Fact><Fact name="Who">{who(looking.user)}, from {looking.sourceIp}</Fact>
            <Fact name="Request"><code>{looking.method} {readable(looking.path)}</code></Fact><Fact name="Answer">{looking.status}</Fact>
          </Facts>
          {([['Asked for', looking.request], ['Before', looking.before], ['After', looking.after]] as const).map(([t, s]) => s && <div key={t}><h3>{t}</h3><pre class="box" tabIndex={0} dir="auto" aria-label={t}>{visible(prettyText(s).text)}</pre></div>)}
        </Dialog>
      )}
    </Card>
  );
}

function readable(path: string): string {
  try {
    return visible(decodeURIComponent(path));
  } catch {
    return path;
  }
}

interface Denial { time: string; kind: string; clientId?: string; principal?: string; sourceIp?: string; action?: string; resource?: string; reason: string }

function Denials() {
  const { value, error, reload } = useLoad(() => berth.get<{ denials: Denial[]; total: number }>('/denials', { max: 200 }), []);
  if (error) return <Problem error={error} retry={reload} />;
  if (!value) return <Loading />;
  return (
    <Card tight title="Denials" actions={<><span class="muted">{value.total} since the server started</span><Button icon="refresh" onClick={reload}>Load again</Button></>}>
      {value.denials.length ? (
        <Table label="Denials" columns={['When', 'Client', 'What', 'Why']} rows={value.denials.map((d, i) => ({
          key: i, cells: [<Stamp ms={Date.parse(d.time)} />, <span dir="auto">{d.clientId ? <a href={to(['things', d.clientId], { tab: 'history' })}>{visible(d.clientId)}</a> : d.sourceIp ?? ''}</span>,
            <span><Badge>{d.kind}</Badge> <code>{d.action ?? ''}</code> <code dir="auto">{visible(d.resource ?? '')}</code></span>, <span dir="auto">{visible(d.reason)}</span>],
        }))} />
      ) : <Empty icon="policies" title="Nothing was refused">Refused connections, messages and subscriptions, and failed handshakes, are here in words.</Empty>}
    </Card>
  );
}

interface Event { timestamp: number; eventType: string; clientId: string; thingName?: string; ipAddress?: string; disconnectReason?: string }

function Connections() {
  const { value, error, reload } = useLoad(() => berth.get<{ events: Event[] }>('/connections', { max: 200 }), []);
  if (error) return <Problem error={error} retry={reload} />;
  if (!value) return <Loading />;
  return (
    <Card tight title="Connections" actions={<Button icon="refresh" onClick={reload}>Load again</Button>}>
      {value.events.length ? (
        <Table label="Connections" columns={['When', 'Client', 'What', 'Why', 'From']} rows={value.events.map((e, i) => ({
          key: i, cells: [<Stamp ms={e.timestamp} />, <span dir="auto">{visible(e.clientId)}</span>, <Badge tone={e.eventType === 'connected' ? 'good' : e.eventType === 'connect_failed' ? 'bad' : 'none'}>{e.eventType === 'connected' ? 'connected' : e.eventType === 'disconnected' ? 'left' : 'was refused'}</Badge>,
            e.disconnectReason ? disconnectWords[e.disconnectReason] ?? e.disconnectReason : '', e.ipAddress ?? ''],
        }))} />
      ) : <Empty icon="activity" title="Nobody has connected">Connects and disconnects appear here as they happen.</Empty>}
    </Card>
  );
}
