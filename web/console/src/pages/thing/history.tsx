import { useEffect, useState } from 'preact/hooks';
import { berth } from '../../lib/api';
import { watch } from '../../lib/live';
import { bytes, clock, disconnectWords, prettyText, utf8, visible } from '../../lib/text';
import type { Message } from '../../lib/codec';
import { Badge, Card, Empty, Loading, Problem, Stamp, Table, useLoad } from '../../ui/all';

interface Event { timestamp: number; eventType: string; ipAddress?: string; disconnectReason?: string; principalIdentifier?: string }
interface Denial { time: string; kind: string; action?: string; resource?: string; policy?: string; statement?: string; reason: string; sourceIp?: string }

const eventWords: Record<string, string> = { connected: 'connected', disconnected: 'left', connect_failed: 'was refused' };

export function History({ thing }: { thing: string }) {
  const events = useLoad(() => berth.get<{ events: Event[] }>('/connections', { name: thing, max: 100 }), [thing]);
  const denials = useLoad(() => berth.get<{ denials: Denial[] }>('/denials', { clientId: thing, max: 50 }), [thing]);
  useEffect(() => {
    const reload = () => {
      events.reload();
      denials.reload();
    };
    const ends = ['connected', 'disconnected', 'connect_failed'].map((k) => watch(`$aws/events/presence/${k}/${thing}`, reload));
    return () => ends.forEach((end) => end());
  }, [thing]);
  if (events.error || denials.error) return <Problem error={events.error ?? denials.error} retry={() => { events.reload(); denials.reload(); }} />;
  if (!events.value || !denials.value) return <Loading />;
  return (
    <>
      <Seen thing={thing} />
      <Card tight title="Connections">
        {events.value.events.length ? (
          <Table label="Connections" columns={['When', 'What', 'Why', 'From']} rows={events.value.events.map((e, i) => ({
            key: i,
            cells: [<Stamp ms={e.timestamp} />, <Badge tone={e.eventType === 'connected' ? 'good' : e.eventType === 'connect_failed' ? 'bad' : 'none'}>{eventWords[e.eventType] ?? e.eventType}</Badge>, e.disconnectReason ? disconnectWords[e.disconnectReason] ?? e.disconnectReason : '', e.ipAddress ?? ''],
          }))} />
        ) : <Empty icon="activity" title="No connections since the server started">They appear here as they happen.</Empty>}
      </Card>
      <Card tight title="Denials">
        {denials.value.denials.length ? (
          <Table label="Denials" columns={['When', 'What', 'Why']} rows={denials.value.denials.map((d, i) => ({
            key: i, cells: [<Stamp ms={Date.parse(d.time)} />, <span><code>{d.action ?? d.kind}</code> <code dir="auto">{visible(d.resource ?? '')}</code></span>, <span dir="auto">{visible(d.reason)}</span>],
          }))} />
        ) : <Empty icon="policies" title="Nothing was refused">When a policy or the protocol refuses this client something, the deciding statement is here in words.</Empty>}
      </Card>
    </>
  );
}

const most = 50;

/** Seen shows what goes over the thing's own topics while the page is open. */
function Seen({ thing }: { thing: string }) {
  const [messages, set] = useState<{ at: number; m: Message }[]>([]);
  useEffect(() => {
    set([]);
    const add = (m: Message) => set((now) => [{ at: Date.now(), m }, ...now].slice(0, most));
    const ends = [`${thing}/#`, `$aws/things/${thing}/#`].map((f) => watch(f, add));
    return () => ends.forEach((end) => end());
  }, [thing]);
  return (
    <Card tight title="Messages" actions={<span class="muted">on {thing}/# and $aws/things/{thing}/#, since you opened this</span>}>
      {messages.length ? (
        <Table label="Messages" columns={['When', 'Topic', 'Payload']} rows={messages.map(({ at, m }) => {
          const text = utf8(m.payload);
          return { key: at + m.topic + Math.random(), cells: [clock(at), <code dir="auto">{visible(m.topic)}</code>, text === undefined ? <span class="muted">{bytes(m.payload.length)} of binary data</span> : <pre dir="auto">{visible(prettyText(text).text.slice(0, 2000))}</pre>] };
        })} />
      ) : <Empty icon="client" title="Listening">Messages appear here as the device sends and receives them.</Empty>}
    </Card>
  );
}
