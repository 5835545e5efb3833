// The roll-out of a firmware file, step by step.
import { useState } from 'preact/hooks';
import { berth, iot, seg } from '../../lib/api';
import { rollOut, stamp } from '../../lib/jobs';
import type { Signer } from '../../lib/jobs';
import { go, to } from '../../lib/router';
import { bytes } from '../../lib/text';
import { Button, Card, Field, Note, Page, Problem, toast, useAction, useLoad } from '../../ui/all';

const words = (s: string) => s.split(/[\s,]+/).filter(Boolean);
const days = [['MON-SUN', 'every day'], ['MON-FRI', 'on weekdays'], ['SAT-SUN', 'on weekends'], ['SUN', 'on Sundays']] as const;

export function Wizard() {
  const signers = useLoad(async () => (await berth.get<{ signers: Signer[] }>('/signers')).signers, []);
  const groups = useLoad(() => iot.get<{ thingGroups: { groupName: string }[] }>('/thing-groups', { maxResults: 250 }), []);
  const [file, setFile] = useState<File | undefined>();
  const [id, setID] = useState<string | undefined>();
  const [signer, setSigner] = useState('');
  const [things, setThings] = useState('');
  const [chosen, setChosen] = useState<string[]>([]);
  const [continuous, setContinuous] = useState(false);
  const [protocol, setProtocol] = useState<'MQTT' | 'HTTP'>('MQTT');
  const [rate, setRate] = useState('');
  const [percent, setPercent] = useState('20');
  const [after, setAfter] = useState('5');
  const [timeout, setTimeoutMinutes] = useState('60');
  const [when, setWhen] = useState<'now' | 'at' | 'window'>('now');
  const [start, setStart] = useState('');
  const [hour, setHour] = useState('02:00');
  const [day, setDay] = useState('MON-SUN');
  const [length, setLength] = useState('120');
  const [doing, setDoing] = useState('');
  const name = id ?? (file ? file.name.replace(/\.\w+$/, '').replace(/[^\w-]+/g, '-').slice(0, 40) + '-' + stamp() : '');
  const bad = name && !/^[\w-]{1,56}$/.test(name) ? 'Use up to 56 letters, digits, _ and -.' : '';
  const missing = !file ? 'Choose a file.' : !words(things).length && !chosen.length ? 'Name things or choose groups.' : when === 'at' && !start ? 'Choose when to start.' : bad;
  const newSigner = useAction(async () => {
    const s = await berth.post<Signer>(`/signers/${seg('firmware')}`, {});
    toast('The signer is made');
    setSigner(s.name);
    signers.reload();
  });
  const start1 = useAction(async () => {
    const [h, m] = hour.split(':').map(Number);
    const job = await rollOut({
      id: name, file: file!, signer, things: words(things), groups: chosen, continuous: continuous || when === 'window', protocol, rate: Number(rate) || undefined,
      abort: Number(percent) ? { percent: Number(percent), after: Math.max(1, Number(after) || 1) } : undefined, timeout: Number(timeout) || undefined,
      start: when === 'at' ? new Date(start).toISOString().slice(0, 16) + 'Z' : undefined,
      window: when === 'window' ? { cron: `cron(${m} ${h} ? * ${day} *)`, minutes: Number(length) || 60 } : undefined,
    }, setDoing);
    go(['jobs', job]);
  });
  return (
    <Page title="Roll out firmware" back={{ href: to(['jobs']), text: 'Jobs and firmware' }} lead="Devices with an OTA library for AWS IoT take it, check the signature and report how it went.">
      <Card title="1. Firmware">
        <Field label="File" hint={file ? `${bytes(file.size)}` : 'The application image, such as build/firmware.bin.'}>{(a) => <input {...a} type="file" onChange={(e) => setFile(e.currentTarget.files?.[0])} />}</Field>
        <Field label="Name of the update" error={bad}>{(a) => <input {...a} value={name} spellcheck={false} autocomplete="off" onInput={(e) => setID(e.currentTarget.value.trim())} />}</Field>
        <div class="inline top">
          <div class="grow"><Field label="Signed by" hint="Devices that check signatures hold this signer's certificate.">{(a) => (
            <select {...a} value={signer} onChange={(e) => setSigner(e.currentTarget.value)}>
              <option value="">nobody: devices get no signature</option>
              {signers.value?.map((s) => <option key={s.name} value={s.name}>{s.name} ({s.algorithm})</option>)}
            </select>
          )}</Field></div>
          {signers.value && !signers.value.some((s) => s.name === 'firmware') && <Button class="under-label" icon="key" changes busy={newSigner.busy} onClick={() => void newSigner.act()}>Make a signer</Button>}
        </div>
        {newSigner.error || signers.error ? <Problem error={newSigner.error ?? signers.error} /> : null}
        <Field label="Protocol" hint="MQTT needs no second connection; HTTP is faster for large files.">{(a) => <select {...a} value={protocol} onChange={(e) => setProtocol(e.currentTarget.value as 'MQTT')}><option value="MQTT">MQTT, in blocks</option><option value="HTTP">HTTPS download</option></select>}</Field>
      </Card>
      <Card title="2. Targets">
        <Field label="Things" hint="Names, with spaces or commas between.">{(a) => <input {...a} value={things} spellcheck={false} autocomplete="off" onInput={(e) => setThings(e.currentTarget.value)} />}</Field>
        {groups.value?.thingGroups.length ? (
          <fieldset class="columns choice"><legend class="legend">Groups, with the groups below them</legend>
            {groups.value.thingGroups.map((g) => <label class="check" key={g.groupName}><input type="checkbox" checked={chosen.includes(g.groupName)} onChange={(e) => setChosen(e.currentTarget.checked ? [...chosen, g.groupName] : chosen.filter((x) => x !== g.groupName))} /> <span dir="auto">{g.groupName}</span></label>)}
          </fieldset>
        ) : <p class="hint">There are no thing groups: <code>aws iot create-thing-group</code> makes one.</p>}
        <label class="check"><input type="checkbox" checked={continuous || when === 'window'} disabled={when === 'window'} onChange={(e) => setContinuous(e.currentTarget.checked)} /> Also things that join the groups later</label>
      </Card>
      <Card title="3. Pace and safety">
        <div class="split">
          <Field label="Things a minute" hint="Empty: a thousand.">{(a) => <input {...a} type="number" min="1" value={rate} onInput={(e) => setRate(e.currentTarget.value)} />}</Field>
          <Field label="Minutes that a device may take" hint="Then it counts as timed out. Empty: for ever.">{(a) => <input {...a} type="number" min="1" value={timeout} onInput={(e) => setTimeoutMinutes(e.currentTarget.value)} />}</Field>
          <Field label="Give up when this many per cent fail" hint="Failed, rejected or timed out. Empty: never.">{(a) => <input {...a} type="number" min="0" max="100" step="any" value={percent} onInput={(e) => setPercent(e.currentTarget.value)} />}</Field>
          <Field label="but not before so many things are done">{(a) => <input {...a} type="number" min="1" value={after} onInput={(e) => setAfter(e.currentTarget.value)} />}</Field>
        </div>
      </Card>
      <Card title="4. When">
        <Field label="Begin">{(a) => <select {...a} value={when} onChange={(e) => setWhen(e.currentTarget.value as 'now')}><option value="now">at once</option><option value="at">at a time</option><option value="window">in a maintenance window</option></select>}</Field>
        {when === 'at' && <Field label="Time" hint="Of this browser's clock; half an hour ahead at least.">{(a) => <input {...a} type="datetime-local" value={start} onInput={(e) => setStart(e.currentTarget.value)} />}</Field>}
        {when === 'window' && (
          <div class="split">
            <Field label="From (UTC)">{(a) => <input {...a} type="time" value={hour} onInput={(e) => setHour(e.currentTarget.value)} />}</Field>
            <Field label="Days">{(a) => <select {...a} value={day} onChange={(e) => setDay(e.currentTarget.value)}>{days.map(([k, text]) => <option key={k} value={k}>{text}</option>)}</select>}</Field>
            <Field label="Minutes">{(a) => <input {...a} type="number" min="1" max="1430" value={length} onInput={(e) => setLength(e.currentTarget.value)} />}</Field>
          </div>
        )}
        {when === 'window' && <Note>Windows are for roll-outs that go on: things that join the groups later get the firmware too.</Note>}
      </Card>
      {start1.error ? <Problem error={start1.error} /> : null}
      <div class="actions end">
        <span class="hint" role="status">{start1.busy ? doing + '…' : missing}</span>
        <Button kind="primary" changes busy={start1.busy} disabled={!!missing} onClick={() => void start1.act()}>Roll out</Button>
      </div>
    </Page>
  );
}
