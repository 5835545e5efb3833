// How the fleet fares: who is connected, what comes and goes, what is about to go wrong.
import { useMemo } from 'preact/hooks';
import { ApiError, berth, iot } from '../lib/api';
import { place, setQuery, to } from '../lib/router';
import { disconnectWords, moment, number, visible } from '../lib/text';
import { Badge, Button, Card, Empty, Fact, Facts, Loading, Note, Page, Problem, Table, When, useAction, useLoad } from '../ui/all';
import { useAgain } from '../ui/again';
import { Plot } from '../ui/plot';
import type { Line } from '../ui/plot';

interface Sample { timestamp: number; connected: number; connects: number; connectsRefused: number; messagesReceived: number; messagesSent: number; messagesDropped: number; denied: number; handshakesFailed: number }
interface Fleet { now: Sample; samples: Sample[]; longSamples: Sample[]; disconnects: Record<string, number> }
interface Denial { time: string; kind: string; sourceIp?: string; reason: string }
interface Event { timestamp: number; eventType: string; clientId: string; thingName?: string }

const pace = 5000; // milliseconds

export default function FleetPage() {
  const { value, error, reload } = useLoad(() => berth.get<Fleet>('/fleet'), []);
  useAgain(reload, pace);
  const long = place.value.query.get('range') === 'days';
  if (error && !value) return <Page title="Fleet"><Problem error={error} retry={reload} /></Page>;
  if (!value) return <Page title="Fleet"><Loading /></Page>;
  return (
    <Page title="Fleet" lead="Who is connected, what comes and goes, and what is about to go wrong. Counts are since the server started." actions={<div class="inline" role="group" aria-label="Range">
      <Button aria-pressed={!long} onClick={() => setQuery({ range: undefined })}>Hour</Button><Button aria-pressed={long} onClick={() => setQuery({ range: 'days' })}>Two days</Button>
    </div>}>
      <Card title="Now">
        <Facts>
          <Fact name="Connected"><strong class="large">{number(value.now.connected)}</strong></Fact><Fact name="Connects tried">{number(value.now.connects)}</Fact><Fact name="Connects refused">{number(value.now.connectsRefused)}</Fact>
          <Fact name="Handshakes failed">{number(value.now.handshakesFailed)}</Fact><Fact name="Denied by policy">{number(value.now.denied)}</Fact><Fact name="Messages dropped">{number(value.now.messagesDropped)}</Fact>
        </Facts>
      </Card>
      <Trends list={[...(long ? value.longSamples : value.samples), value.now]} />
      <div class="split">
        <Talkers />
        <Ends counts={value.disconnects} />
        <Restless />
        <Handshakes total={value.now.handshakesFailed} />
        <Expiring />
        <Versions />
      </div>
    </Page>
  );
}

/** perSecond is how fast a counter grew before each sample. */
const perSecond = (list: Sample[], of: (s: Sample) => number) => list.map((s, i) => (i === 0 ? null : Math.max(0, of(s) - of(list[i - 1])) / Math.max(0.001, (s.timestamp - list[i - 1].timestamp) / 1000)));

function Trends({ list }: { list: Sample[] }) {
  const made = useMemo(() => ({
    times: list.map((s) => s.timestamp / 1000),
    connected: [{ label: 'connected', color: 0, values: list.map((s) => s.connected) }] as Line[],
    rates: [{ label: 'received', color: 0, values: perSecond(list, (s) => s.messagesReceived) }, { label: 'sent', color: 1, values: perSecond(list, (s) => s.messagesSent) }, { label: 'dropped', color: 2, values: perSecond(list, (s) => s.messagesDropped) }] as Line[],
    comings: [{ label: 'connects', color: 3, values: perSecond(list, (s) => s.connects) }, { label: 'refused', color: 2, values: perSecond(list, (s) => s.connectsRefused) }, { label: 'handshakes failed', color: 4, values: perSecond(list, (s) => s.handshakesFailed) }] as Line[],
  }), [list[list.length - 1].timestamp, list.length]);
  return (
    <>
      <Card title="Connected"><Plot label="Clients connected" times={made.times} lines={made.connected} height={200} /></Card>
      <div class="split">
        <Card title="Messages a second"><Plot label="Messages a second" times={made.times} lines={made.rates} height={200} /></Card>
        <Card title="Connects a second"><Plot label="Connects a second" times={made.times} lines={made.comings} height={200} /></Card>
      </div>
    </>
  );
}

function Ends({ counts }: { counts: Record<string, number> }) {
  const list = Object.entries(counts ?? {}).sort((a, b) => b[1] - a[1]);
  return (
    <Card tight title="Why connections ended">
      {list.length ? <Table label="Disconnects by reason" columns={['Reason', 'Times']} rows={list.map(([k, n]) => ({ key: k, cells: [<>{disconnectWords[k] ?? k} <code class="muted">{k}</code></>, number(n)] }))} /> : <p class="pad muted">No connection has ended yet.</p>}
    </Card>
  );
}

interface Talker { clientId: string; thingName?: string; received: number; sent: number; receivedTotal: number; sentTotal: number }

/** Talkers are the clients with the most messages just now. */
function Talkers() {
  const { value, error, reload } = useLoad(() => berth.get<{ windowSeconds: number; talkers: Talker[] }>('/talkers', { max: 10 }), []);
  useAgain(reload, pace);
  const rate = (n: number) => number(Math.round((10 * n) / (value?.windowSeconds ?? 10)) / 10);
  return (
    <Card tight title="Who talks most">
      {error && !value ? <Problem error={error} retry={reload} /> : value?.talkers?.length ? <Table label="Who talks most" columns={['Client', 'Sends /s', 'Gets /s', 'Since connected']} rows={value.talkers.map((t) => ({ key: t.clientId, cells: [
        t.thingName ? <a href={to(['things', t.thingName])} dir="auto">{visible(t.clientId)}</a> : <span dir="auto">{visible(t.clientId)}</span>, rate(t.received), rate(t.sent), number(t.receivedTotal + t.sentTotal)] }))} />
        : <p class="pad muted">Nobody has sent or got a message in the last ten seconds. A device that talks much more than its fellows costs the most, and often has a fault.</p>}
    </Card>
  );
}

/** Restless are clients that come again and again. */
function Restless() {
  const { value } = useLoad(() => berth.get<{ events: Event[] }>('/connections', { max: 1000 }), []);
  const counts = new Map<string, { n: number; last: number; thing?: string }>();
  for (const e of value?.events ?? []) {
    if (e.eventType !== 'connected' || e.clientId.startsWith('console-')) continue;
    const c = counts.get(e.clientId);
    counts.set(e.clientId, { n: (c?.n ?? 0) + 1, last: Math.max(c?.last ?? 0, e.timestamp), thing: e.thingName });
  }
  const list = [...counts].filter(([, c]) => c.n > 1).sort((a, b) => b[1].n - a[1].n).slice(0, 10);
  return (
    <Card tight title="Who connects most often">
      {list.length ? <Table label="Who connects most often" columns={['Client', 'Connects', 'Last']} rows={list.map(([id, c]) => ({ key: id, cells: [c.thing ? <a href={to(['things', c.thing])} dir="auto">{visible(id)}</a> : <span dir="auto">{visible(id)}</span>, number(c.n), <When ms={c.last} />] }))} />
        : <p class="pad muted">No client has connected twice among the latest thousand events. One that does so all the time has bad radio, too little power, or a twin with the same client identifier.</p>}
    </Card>
  );
}

function Handshakes({ total }: { total: number }) {
  const { value, error, reload } = useLoad(() => berth.get<{ denials: Denial[] }>('/denials', { max: 1000 }), [total]);
  const reasons = new Map<string, { n: number; last: string; from: Set<string> }>();
  for (const d of value?.denials ?? []) {
    if (d.kind !== 'handshake') continue;
    const r = reasons.get(d.reason) ?? { n: 0, last: d.time, from: new Set() };
    r.n++;
    if (d.sourceIp) r.from.add(d.sourceIp);
    reasons.set(d.reason, r);
  }
  return (
    <Card tight title="Handshakes that failed">
      {error ? <Problem error={error} retry={reload} /> : reasons.size ? <Table label="Handshakes that failed" columns={['Why', 'Times', 'From', 'Last']} rows={[...reasons].map(([why, r]) => ({ key: why, cells: [<span dir="auto">{visible(why)}</span>, number(r.n), [...r.from].slice(0, 3).join(', '), <When ms={Date.parse(r.last)} />] }))} />
        : <p class="pad muted">None of late. A device that cannot agree on TLS shows up here with the reason in words: its clock, its root certificate, its own certificate.</p>}
    </Card>
  );
}

function Expiring() {
  const { value, error, reload } = useLoad(() => berth.get<{ certificates: { certificateId: string; notAfter: number; things: string[] }[] }>('/expiring-certificates'), []);
  return (
    <Card tight title="Certificates that end within 30 days">
      {error ? <Problem error={error} retry={reload} /> : !value ? <Loading /> : value.certificates.length ? <Table label="Certificates about to expire" columns={['Things', 'Certificate', 'Ends']} rows={value.certificates.map((c) => ({ key: c.certificateId, cells: [
        c.things.map((t, i) => <>{i > 0 && ', '}<a href={to(['things', t], { tab: 'certificates' })} dir="auto">{t}</a></>), <code title={c.certificateId}>{c.certificateId.slice(0, 12)}…</code>,
        c.notAfter * 1000 < Date.now() ? <Badge tone="bad">ended {moment(c.notAfter * 1000)}</Badge> : <When ms={c.notAfter * 1000} />] }))} />
        : <p class="pad muted">None. Devices whose certificate has ended cannot connect, so renew before: a job can tell them to.</p>}
    </Card>
  );
}

const usual = ['attributes.version', 'attributes.firmware', 'shadow.reported.version', 'shadow.reported.firmware', 'shadow.reported.firmwareVersion', 'shadow.reported.ota.version', 'thingTypeName'];

/** Versions counts things by a field of the fleet index. */
function Versions() {
  const field = place.value.query.get('field') ?? usual[0];
  const { value, error, reload } = useLoad(async () => iot.post<{ totalCount: number; buckets: { keyValue: string; count: number }[] }>('/indices/buckets', { queryString: '*', aggregationField: field, bucketsAggregationType: { termsAggregation: { maxBuckets: 20 } } }), [field]);
  const add = useAction(async () => {
    const { thingIndexingConfiguration: c } = await iot.get<{ thingIndexingConfiguration: { customFields?: { name: string; type: string }[] } }>('/indexing/config');
    await iot.post('/indexing/config', { thingIndexingConfiguration: { ...c, managedFields: undefined, customFields: [...(c.customFields ?? []), { name: field, type: 'String' }] } });
    reload();
  });
  const unknown = error instanceof ApiError && error.kind === 'InvalidAggregationException';
  const off = error instanceof ApiError && error.status === 404;
  return (
    <Card tight title="In the field" actions={<><label class="visually-hidden" for="fleet-field">Count things by</label><input id="fleet-field" class="short" list="fleet-fields" value={field} spellcheck={false} onChange={(e) => setQuery({ field: e.currentTarget.value.trim() })} /><datalist id="fleet-fields">{usual.map((f) => <option key={f} value={f} />)}</datalist></>}>
      {off ? <Empty icon="search" title="Fleet indexing is off"><code>aws iot update-indexing-configuration --thing-indexing-configuration thingIndexingMode=REGISTRY_AND_SHADOW</code> turns it on; then things can be counted by any field, such as the version that they report.</Empty>
        : unknown ? <Empty icon="search" title="The index does not count this field yet" actions={<Button kind="primary" changes busy={add.busy} onClick={() => void add.act()}>Count by {field}</Button>}>{add.error ? <Problem error={add.error} /> : 'It becomes a custom field of the fleet index.'}</Empty>
        : error ? <div class="pad"><Problem error={error} /></div> : !value ? <Loading /> : value.buckets.length ? <Table label="Things by value" columns={[field, 'Things']} rows={value.buckets.map((b) => ({ key: b.keyValue, cells: [<a href={to(['things'], { q: `${field}:"${b.keyValue}"` })} dir="auto">{visible(b.keyValue)}</a>, number(b.count)] }))} />
          : <div class="pad"><Note>No thing has the field <code dir="auto">{field}</code>. Devices may report their version in the shadow, or keep it as an attribute.</Note></div>}
    </Card>
  );
}
