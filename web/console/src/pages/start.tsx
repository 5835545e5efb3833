import { signal } from '@preact/signals';
import { useEffect, useState } from 'preact/hooks';
import { berth, server, session } from '../lib/api';
import { archive, header, image, makeDevice, namePattern, save } from '../lib/device';
import type { Device } from '../lib/device';
import { download } from '../lib/files';
import { watch } from '../lib/live';
import { to } from '../lib/router';
import { disconnectWords } from '../lib/text';
import { Button, Card, Fact, Facts, Field, Icon, Note, Page, Problem, Value, useAction, useLoad } from '../ui';

// The device that was made last: it stays here while other pages are looked at, and goes with the tab.
const made = signal<Device | undefined>(undefined);

export default function Start() {
  return (
    <Page title="Start" lead="Your own AWS IoT Core. Connect a device in a minute, or point what you have at this endpoint.">
      <Endpoint />
      {made.value ? <Ready device={made.value} /> : <First />}
    </Page>
  );
}

function Endpoint() {
  const { value, error, reload } = useLoad(() => server(), []);
  if (error) return <Problem error={error} retry={reload} />;
  const s = value?.server;
  return (
    <Card title="Endpoint" actions={value && <Button icon="download" onClick={() => download('ca.pem', value.certificateAuthorityPem, 'application/x-pem-file')}>CA certificate</Button>}>
      {s && (
        <Facts>
          <Fact name="MQTT with certificates"><Value text={`${s.endpoint}:${s.mqttPort}`} what="the MQTT endpoint" /></Fact>
          <Fact name="HTTPS, REST, WebSocket"><Value text={`https://${s.endpoint}:${s.httpsPort}`} what="the HTTPS endpoint" /></Fact>
          <Fact name="Region and account">{s.region} · {s.account}</Fact>
        </Facts>
      )}
    </Card>
  );
}

function First() {
  const [name, setName] = useState('');
  const bad = name && !namePattern.test(name) ? 'Use letters, digits, and : _ - only.' : '';
  const { act, busy, error } = useAction(async () => {
    made.value = await makeDevice(name);
  });
  return (
    <Card title="Connect your first device">
      <form class="stack" onSubmit={(e) => { e.preventDefault(); if (name && !bad) void act(); }}>
        <p class="muted">One click makes a thing, a certificate for it and a policy that lets it use its own topics only. The private key is made in this browser.</p>
        <div class="inline top">
          <div class="grow">
            <Field label="Name of the device" error={bad} hint="It is also its client identifier and the first part of its topics.">
              {(a) => <input {...a} value={name} placeholder="kettle-1" spellcheck={false} autocomplete="off" maxLength={128} data-search onInput={(e) => setName(e.currentTarget.value.trim())} />}
            </Field>
          </div>
          <Button kind="primary" type="submit" class="big under-label" busy={busy} changes disabled={!name || !!bad} icon="plus">Make device</Button>
        </div>
        {error ? <Problem error={error} /> : null}
      </form>
    </Card>
  );
}

function Ready({ device: d }: { device: Device }) {
  const link = `${location.origin}/${to(['things', d.thing])}`;
  return (
    <>
      <Waiting device={d} />
      <div class="split">
        <Card title={`Files of ${d.thing}`}>
          <p class="muted">{d.madeHere ? 'The private key was made in this browser and is stored nowhere: download it now.' : 'The server made the private key and keeps no copy: download it now.'}</p>
          <div class="downloads">
            <Download name={`${d.thing}.zip`} title="Ready to build" text="Arduino sketch, ESP-IDF header, PEM files" main make={async () => archive(d)} />
            <Download name="secrets.h" title="C header" text="strings for WiFiClientSecure" make={async () => header(d)} />
            <Download name={`${d.thing}.cert.pem`} title="Certificate" text="PEM" make={async () => d.certificatePem} />
            <Download name={`${d.thing}.private.key`} title="Private key" text="PEM, PKCS #8" make={async () => d.privateKeyPem} />
            <Download name="ca.pem" title="CA certificate" text="whom the device trusts" make={async () => d.caPem} />
            <Download name={`${d.thing}.spiffs.bin`} title="SPIFFS image" text="64 KiB partition with three files" make={() => image(d, 'spiffs', 65536)} />
            <Download name={`${d.thing}.nvs.bin`} title="NVS image" text="24 KiB partition, namespace aws" make={() => image(d, 'nvs', 24576)} />
          </div>
          <p class="hint">The two images are put together by this server, which keeps nothing of them; everything else never leaves the browser.</p>
        </Card>
        <Card title="Take it along">
          <div class="qr">
            <img src={berth.url('/qr', { text: link })} width="148" height="148" alt={`QR code with the address of ${d.thing} in this console`} />
            <p class="muted">Scan it to watch {d.thing} on a phone, or print it for the board. It holds no secret.</p>
          </div>
          <div class="actions">
            <a class="button" href={to(['things', d.thing])}><Icon name="things" size={18} /><span>Open {d.thing}</span></a>
            <Button icon="plus" onClick={() => (made.value = undefined)}>Another device</Button>
          </div>
        </Card>
      </div>
    </>
  );
}

function Download({ name, title, text, make, main }: { name: string; title: string; text: string; make: () => Promise<Uint8Array | string>; main?: boolean }) {
  const { act, busy, error } = useAction(async () => save(name, await make()));
  return (
    <div>
      <button type="button" class={main ? 'download main' : 'download'} onClick={() => void act()} disabled={busy}>
        <Icon name="download" />
        <span><strong>{title}</strong><span class="hint">{text}</span></span>
      </button>
      {error ? <Problem error={error} /> : null}
    </div>
  );
}

interface Denial { time: string; kind: string; clientId?: string; principal?: string; reason: string; sourceIp?: string }

/** Waiting turns green when the device connects, and says why when it was refused. */
function Waiting({ device: d }: { device: Device }) {
  const [state, setState] = useState<'waiting' | 'connected' | 'gone'>('waiting');
  const [reason, setReason] = useState('');
  const [denials, setDenials] = useState<Denial[]>([]);
  const [since] = useState(() => Date.now());
  useEffect(() => {
    const ends = ['connected', 'disconnected'].map((kind) => watch(`$aws/events/presence/${kind}/${d.thing}`, (m) => {
      const e = JSON.parse(new TextDecoder().decode(m.payload));
      setState(kind === 'connected' ? 'connected' : 'gone');
      setReason(e.disconnectReason ?? '');
    }));
    const look = async () => {
      try {
        // The device may have connected before this page listened.
        const { events } = await berth.get<{ events: { eventType: string; disconnectReason?: string }[] }>('/connections', { name: d.thing, max: 1 });
        if (events[0] && events[0].eventType !== 'connect_failed') setState(events[0].eventType === 'connected' ? 'connected' : 'gone');
        if (events[0]?.disconnectReason) setReason(events[0].disconnectReason);
        const { denials } = await berth.get<{ denials: Denial[] }>('/denials', { max: 50 });
        // Browsers that do not trust the server's certificate fail as devices do: this one is left out.
        setDenials(denials.filter((x) => Date.parse(x.time) > since && (x.clientId === d.thing || x.principal === d.certificateId || (x.kind === 'handshake' && !x.clientId && x.sourceIp !== session.value?.address))).slice(0, 3));
      } catch {
        // the next look tells
      }
    };
    void look();
    const t = setInterval(look, 2000);
    return () => {
      ends.forEach((end) => end());
      clearInterval(t);
    };
  }, [d.thing]);
  const words = {
    waiting: { tone: 'none', title: `Waiting for ${d.thing}`, text: 'Flash the files and power the board. This turns green when it connects, or says why it could not.' },
    connected: { tone: 'good', title: `${d.thing} is connected`, text: 'Everything works: certificate, policy and network. Its topics begin with its name; listen to them in the test client.' },
    gone: { tone: 'warn', title: `${d.thing} connected and left`, text: `Its certificate and policy are right. It left because ${disconnectWords[reason] ?? 'the connection ended'}.` },
  }[state];
  return (
    <section class={`card waiting ${words.tone}`} aria-live="polite" data-state={state}>
      <div class="waiting-head">
        <span class={`dot big ${words.tone} ${state === 'waiting' ? 'pulse' : ''}`} />
        <div>
          <h2>{words.title}</h2>
          <p class="muted">{words.text}</p>
        </div>
        {state !== 'waiting' && <a class="button" href={to(['client'], { filter: `${d.thing}/#` })}><Icon name="client" size={18} /><span>Listen to it</span></a>}
      </div>
      {denials.map((x) => (
        <Note key={x.time + x.reason} tone={x.kind === 'handshake' ? 'warn' : 'bad'} title={x.kind === 'handshake' ? `A connection from ${x.sourceIp ?? 'somewhere'} failed before it said who it is` : 'The server refused something'}>
          <span dir="auto">{x.reason}</span>
        </Note>
      ))}
    </section>
  );
}
