import { useEffect, useMemo, useState } from 'preact/hooks';
import { isAdmin } from '../lib/api';
import type { Properties } from '../lib/codec';
import { download } from '../lib/files';
import { place, setQuery } from '../lib/router';
import { clear, connection, dropped, held, messages, paused, publish, resume, subscribe, subscriptions, unsubscribe } from '../lib/testclient';
import type { Received } from '../lib/testclient';
import { bytes, clock, encode, hexdump, moment, number, parse, prettyText, visible } from '../lib/text';
import { Badge, Button, Card, Copy, Empty, Fact, Facts, Field, Icon, List, Note, Page, Problem, say, toast, useAction } from '../ui/all';

export default function Client() {
  useEffect(() => connection.open(), []);
  const state = connection.state.value;
  const words = { connected: 'Connected', connecting: 'Connecting', waiting: 'Trying again', off: 'Not connected' }[state];
  return (
    <Page title="Test client" lead="Listen to topics and send messages over MQTT 5, with your own permission."
      actions={<span role="status" class="inline" data-mqtt={state}><Badge tone={state === 'connected' ? 'good' : 'warn'}><span class={state === 'connected' ? 'dot good' : 'dot warn pulse'} /> {words}</Badge></span>}>
      {connection.problem.value && state !== 'connected' && <Note tone="bad" title="MQTT is not connected">{connection.problem.value}</Note>}
      <div class="client">
        <div class="stack">
          <Subscribe />
          <Publish />
        </div>
        <Messages />
      </div>
    </Page>
  );
}

function Subscribe() {
  const asked = place.value.query.get('filter');
  const [filter, setFilter] = useState(asked ?? '');
  const [qos, setQos] = useState<0 | 1>(0);
  const { act, busy, error } = useAction(async (f: string) => {
    await subscribe(f, qos);
    setFilter((now) => (now === f ? '' : now)); // unless the next one is being typed
  });
  // A link from a device's page listens at once.
  useEffect(() => {
    if (!asked) return;
    setQuery({ filter: undefined });
    if (!subscriptions.value.some((s) => s.filter === asked)) void act(asked);
    else setFilter('');
  }, [asked]);
  return (
    <Card title="Listen">
      <form class="stack" onSubmit={(e) => { e.preventDefault(); if (filter) void act(filter); }}>
        <Field label="Topic filter" hint={<><code>+</code> stands for one level, <code>#</code> for all that follow. <code>$aws/…</code> is where shadows, jobs and events are.</>}>
          {(a) => <input {...a} value={filter} placeholder="kettle-1/#" spellcheck={false} autocomplete="off" autocapitalize="off" maxLength={1024} onInput={(e) => setFilter(e.currentTarget.value)} />}
        </Field>
        <div class="inline">
          <label class="check"><input type="checkbox" checked={qos === 1} onChange={(e) => setQos(e.currentTarget.checked ? 1 : 0)} /> QoS 1</label>
          <Button kind="primary" type="submit" class="end" busy={busy} disabled={!filter}>Listen</Button>
        </div>
        {error ? <Problem error={error} /> : null}
      </form>
      {subscriptions.value.length > 0 && (
        <ul class="subscriptions" aria-label="Subscriptions">
          {subscriptions.value.map((s) => (
            <li key={s.filter} class={`color-${s.color}`}>
              <span class="swatch" />
              <code class="grow" dir="auto" title={s.filter}>{visible(s.filter)}</code>
              <span class="muted">{number(s.count)}</span>
              <button type="button" class="button quiet square small" aria-label={`Stop listening to ${s.filter}`} onClick={() => void unsubscribe(s.filter).catch((e) => toast((e as Error).message, 'bad'))}><Icon name="close" size={16} /></button>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

function Publish() {
  const [topic, setTopic] = useState('');
  const [payload, setPayload] = useState('{\n  "hello": "world"\n}');
  const [format, setFormat] = useState<'text' | 'hex'>('text');
  const [qos, setQos] = useState<0 | 1>(1);
  const [retain, setRetain] = useState(false);
  const [contentType, setContentType] = useState('');
  const [responseTopic, setResponseTopic] = useState('');
  const [correlation, setCorrelation] = useState('');
  const [expiry, setExpiry] = useState('');
  const [user, setUser] = useState('');
  const { act, busy, error } = useAction(async () => {
    const properties: Properties = {};
    if (contentType) properties.contentType = contentType;
    if (responseTopic) properties.responseTopic = responseTopic;
    if (correlation) properties.correlationData = encode(correlation);
    if (expiry) properties.messageExpiry = Number(expiry);
    const pairs = user.split('\n').filter((l) => l.includes('='));
    if (pairs.length) properties.userProperties = pairs.map((l) => [l.slice(0, l.indexOf('=')).trim(), l.slice(l.indexOf('=') + 1).trim()]);
    await publish({ topic, payload: format === 'hex' ? fromHex(payload) : encode(payload), qos, retain, properties });
    say(`Sent to ${topic}`);
  });
  if (!isAdmin()) return <Note title="You may listen">You are signed in as a viewer. To send messages, sign in with the console password or an admin key.</Note>;
  const wrongHex = format === 'hex' && !/^([0-9a-fA-F]{2}\s*)*$/.test(payload.trim()) ? 'Two hexadecimal digits a byte, such as 01 ff.' : '';
  const looksJson = format === 'text' && /^\s*[[{]/.test(payload) ? parse(payload).error : '';
  return (
    <Card title="Send">
      <form class="stack" onSubmit={(e) => { e.preventDefault(); if (topic && !wrongHex) void act(); }}>
        <Field label="Topic">
          {(a) => <input {...a} value={topic} placeholder="kettle-1/in/power" spellcheck={false} autocomplete="off" autocapitalize="off" maxLength={1024} onInput={(e) => setTopic(e.currentTarget.value)} />}
        </Field>
        <Field label="Message" error={wrongHex} hint={looksJson ? <>Not valid JSON, if it should be: {looksJson}</> : `${bytes(format === 'hex' ? Math.floor(payload.replace(/\s/g, '').length / 2) : encode(payload).length)}`}>
          {(a) => <textarea {...a} rows={6} value={payload} spellcheck={false} dir="auto" onInput={(e) => setPayload(e.currentTarget.value)} />}
        </Field>
        <div class="inline">
          <label class="check"><input type="checkbox" checked={qos === 1} onChange={(e) => setQos(e.currentTarget.checked ? 1 : 0)} /> QoS 1</label>
          <label class="check"><input type="checkbox" checked={retain} onChange={(e) => setRetain(e.currentTarget.checked)} /> Retain</label>
          <label class="check"><input type="checkbox" checked={format === 'hex'} onChange={(e) => setFormat(e.currentTarget.checked ? 'hex' : 'text')} /> Hexadecimal</label>
          <Button kind="primary" type="submit" class="end" busy={busy} disabled={!topic || !!wrongHex}>Send</Button>
        </div>
        <details>
          <summary>MQTT 5 properties</summary>
          <div class="stack details">
            <Field label="Content type">{(a) => <input {...a} value={contentType} placeholder="application/json" spellcheck={false} onInput={(e) => setContentType(e.currentTarget.value)} />}</Field>
            <Field label="Response topic">{(a) => <input {...a} value={responseTopic} spellcheck={false} onInput={(e) => setResponseTopic(e.currentTarget.value)} />}</Field>
            <Field label="Correlation data">{(a) => <input {...a} value={correlation} spellcheck={false} onInput={(e) => setCorrelation(e.currentTarget.value)} />}</Field>
            <Field label="Expires after, in seconds">{(a) => <input {...a} type="number" min="1" max="4294967295" value={expiry} onInput={(e) => setExpiry(e.currentTarget.value)} />}</Field>
            <Field label="User properties" hint="One name=value a line">{(a) => <textarea {...a} rows={2} value={user} spellcheck={false} onInput={(e) => setUser(e.currentTarget.value)} />}</Field>
          </div>
        </details>
        {error ? <Problem error={error} /> : null}
      </form>
    </Card>
  );
}

const fromHex = (s: string) => Uint8Array.from(s.replace(/\s/g, '').match(/../g) ?? [], (x) => parseInt(x, 16));

function Messages() {
  const [text, setText] = useState('');
  const [selected, setSelected] = useState<Received | undefined>();
  const list = messages.value;
  const shown = useMemo(() => {
    const t = text.trim().toLowerCase();
    return t ? list.filter((r) => r.message.topic.toLowerCase().includes(t) || r.text?.toLowerCase().includes(t)) : list;
  }, [list, text]);
  return (
    <div class="stack">
      <Card tight>
        <div class="toolbar">
          <div class="search grow">
            <Icon name="search" />
            <input type="search" data-search aria-label="Filter messages by topic or text" placeholder="Filter by topic or text" value={text} spellcheck={false} onInput={(e) => setText(e.currentTarget.value)} />
            <kbd aria-hidden="true">/</kbd>
          </div>
          <Button icon={paused.value ? 'play' : 'pause'} aria-pressed={paused.value} onClick={() => (paused.value ? resume() : (paused.value = true))}>{paused.value ? `Go on${held.value ? ` (${number(held.value)})` : ''}` : 'Pause'}</Button>
          <Button icon="download" disabled={!list.length} onClick={() => exportMessages(shown)}>Export</Button>
          <Button icon="trash" class="square" aria-label="Clear messages" disabled={!list.length} onClick={() => { clear(); setSelected(undefined); }} />
        </div>
        {!list.length ? (
          <Empty icon="client" title={subscriptions.value.length ? 'Listening' : 'No messages yet'}>
            {subscriptions.value.length ? 'Messages appear here as they come.' : <>Listen to <code>#</code> to see what all devices send, or to <code>$aws/events/presence/#</code> to see them come and go.</>}
          </Empty>
        ) : (
          <div class="messages">
            <List label="Messages" count={shown.length} rowHeight={56} follow={!paused.value} head={false} rowKey={(i) => shown[i]?.id ?? i} rowClass={(i) => (shown[i] && shown[i] === selected ? 'chosen' : '')}
              columns={[{ key: 'm', title: 'Message', width: 'minmax(0, 1fr)' }]} row={(i) => [<Line r={shown[i]} select={setSelected} selected={shown[i] === selected} />]} />
          </div>
        )}
        <p class="list-foot muted" role="status">{number(shown.length)} {shown.length === list.length ? 'messages' : `of ${number(list.length)} messages`}{dropped.value > 0 && `, ${number(dropped.value)} older ones are gone`}</p>
      </Card>
      {selected && <Detail r={selected} close={() => setSelected(undefined)} />}
    </div>
  );
}

function Line({ r, select, selected }: { r?: Received; select: (r: Received) => void; selected: boolean }) {
  if (!r) return null;
  const m = r.message;
  const preview = r.text === undefined ? [...m.payload.subarray(0, 32)].map((b) => b.toString(16).padStart(2, '0')).join(' ') : visible(r.text.slice(0, 300).replace(/\s+/g, ' '));
  return (
    <button type="button" class={`message color-${r.color}`} aria-pressed={selected} onClick={() => select(r)}>
      <span class="swatch" />
      <span class="message-head">
        <code class="message-topic" dir="auto">{visible(m.topic)}</code>
        {r.sent && <Badge tone="info">sent</Badge>}
        {m.retain && <Badge tone="warn">retained</Badge>}
        {m.qos === 1 && <Badge>QoS 1</Badge>}
        <span class="muted mono">{clock(r.at)}</span>
      </span>
      <span class="message-text" dir="auto">{preview || '(empty)'}</span>
    </button>
  );
}

const mostShown = 32 << 10; // characters of a payload

function Detail({ r, close }: { r: Received; close: () => void }) {
  const m = r.message;
  const [hex, setHex] = useState(false);
  const p = m.properties;
  const binary = r.text === undefined;
  const asHex = hex || binary;
  const body = useMemo(() => (asHex ? hexdump(m.payload) : visible(prettyText(r.text!).text)), [r, asHex]);
  const cut = body.length > mostShown;
  return (
    <Card title={<code dir="auto" class="topic">{visible(m.topic)}</code>} actions={<>
      {!binary && <Button aria-pressed={hex} onClick={() => setHex(!hex)}>Hexadecimal</Button>}
      <Copy text={r.text ?? hexdump(m.payload, m.payload.length)} what="the message" />
      <button type="button" class="button quiet square" aria-label="Close the message" onClick={close}><Icon name="close" /></button>
    </>}>
      <pre class="box" tabIndex={0} dir={asHex ? 'ltr' : 'auto'} aria-label="Message">{cut ? body.slice(0, mostShown) : body || '(empty)'}</pre>
      {cut && <p class="hint">The first {bytes(mostShown)} of {bytes(m.payload.length)} are shown; copying takes all.</p>}
      <Facts>
        <Fact name="Received">{moment(r.at)}</Fact>
        <Fact name="Size">{bytes(m.payload.length)}</Fact>
        <Fact name="QoS">{m.qos}{m.retain ? ', retained' : ''}</Fact>
        {p.contentType && <Fact name="Content type">{visible(p.contentType)}</Fact>}
        {p.payloadFormat !== undefined && <Fact name="Payload format">{p.payloadFormat === 1 ? 'UTF-8 text' : 'bytes'}</Fact>}
        {p.messageExpiry !== undefined && <Fact name="Expires after">{p.messageExpiry} s</Fact>}
        {p.responseTopic && <Fact name="Response topic"><code>{visible(p.responseTopic)}</code></Fact>}
        {p.correlationData && <Fact name="Correlation data"><code>{[...p.correlationData].map((b) => b.toString(16).padStart(2, '0')).join(' ')}</code></Fact>}
        {p.userProperties?.map(([k, v], i) => <Fact key={i} name={visible(k)}>{visible(v)}</Fact>)}
      </Facts>
    </Card>
  );
}

/** exportMessages saves JSON lines; payloads that are not text are in base64. */
function exportMessages(list: Received[]): void {
  const lines = list.map((r) => JSON.stringify({
    time: new Date(r.at).toISOString(), topic: r.message.topic, qos: r.message.qos, retain: r.message.retain, sent: r.sent || undefined,
    ...(r.text === undefined ? { payloadBase64: btoa(Array.from(r.message.payload, (b) => String.fromCharCode(b)).join('')) } : { payload: r.text }),
    properties: Object.keys(r.message.properties).length ? { ...r.message.properties, correlationData: r.message.properties.correlationData ? [...r.message.properties.correlationData] : undefined } : undefined,
  }));
  download('messages.ndjson', lines.join('\n') + '\n', 'application/x-ndjson');
}
