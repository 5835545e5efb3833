import { useRef, useState } from 'preact/hooks';
import { boards, explain, keep, prepare, thingName } from '../../lib/factory';
import type { Recipe } from '../../lib/factory';
import type { Identified } from '../../lib/flash/board';
import { fits, hex } from '../../lib/flash/partitions';
import { to } from '../../lib/router';
import { bytes } from '../../lib/text';
import { Button, Fact, Facts, Field } from '../../ui/all';

export interface SerialPortLike extends EventTarget {
  getInfo?(): { usbVendorId?: number; usbProductId?: number };
}

type State = 'ready' | 'busy' | 'found' | 'pass' | 'fail';

const words: Record<State, string> = { ready: 'READY', busy: 'WORKING', found: 'FOUND', pass: 'PASS', fail: 'FAIL' };

/** Station is the screen of one port. */
export function Station({ number, port, recipe, setRecipe }: { number: number; port: SerialPortLike; recipe: Recipe; setRecipe: (r: Recipe) => void }) {
  const [state, setState] = useState<State>('ready');
  const [step, setStep] = useState<{ text: string; done?: number }>({ text: 'Plug a board in and prepare it.' });
  const [fix, setFix] = useState('');
  const [found, setFound] = useState<Identified | undefined>();
  const [thing, setThing] = useState('');
  const log = useRef<string[]>([]);

  const run = async (work: 'identify' | 'prepare') => {
    let board: Awaited<ReturnType<(typeof import('../../lib/flash/board'))['Board']['connect']>> | undefined;
    let seen: Identified | undefined;
    const tell = (text: string, done?: number) => setStep({ text, done });
    const note = (result: 'PASS' | 'FAIL', name: string, reason: string) => keep([{ at: Date.now(), result, mac: seen?.mac ?? '', chip: seen?.chip ?? '', thing: name, reason }, ...boards.value]);
    log.current = [];
    setState('busy');
    setFix('');
    setThing('');
    try {
      tell('Connecting to the board');
      const { Board } = await import('../../lib/flash/board');
      board = await Board.connect(port, recipe.baud, (line) => log.current.push(line));
      tell('Identifying it');
      seen = await board.identify();
      setFound(seen);
      let name = '';
      if (work === 'prepare') name = await prepare(board, seen, recipe, tell);
      tell('Starting it');
      await board.close();
      board = undefined;
      if (work === 'identify') {
        setState('found');
        tell(`${seen.chip}, ${seen.mac}`);
        return;
      }
      setFound({ ...seen });
      setThing(name);
      setState('pass');
      tell('Written and verified. Take the next board.');
      note('PASS', name, '');
    } catch (e) {
      const x = explain(e);
      setState('fail');
      tell(x.reason);
      setFix(x.fix);
      if (work === 'prepare') note('FAIL', seen ? thingName(recipe.thing, seen.mac) : '', x.reason);
    } finally {
      await board?.close().catch(() => {});
    }
  };

  const busy = state === 'busy';
  const choices = found ? fits(found.table, recipe.format) : [];
  const info = port.getInfo?.();
  return (
    <section class={`card station ${state}`} data-state={state} aria-label={`Port ${number}`}>
      <div class="card-head">
        <h2>Port {number} {info?.usbVendorId ? <span class="muted">USB {info.usbVendorId.toString(16).padStart(4, '0')}:{(info.usbProductId ?? 0).toString(16).padStart(4, '0')}</span> : null}</h2>
        <div class="actions">
          <Button disabled={busy} onClick={() => void run('identify')}>Identify</Button>
          <Button kind="primary" changes busy={busy} onClick={() => void run('prepare')}>Prepare board</Button>
        </div>
      </div>
      <div class="verdict" role="status" aria-live="polite">
        <strong>{words[state]}</strong>
        <span dir="auto">{step.text}{busy && step.done !== undefined ? `, ${Math.round(step.done * 100)} %` : ''}</span>
        {fix && <span>{fix}</span>}
        {thing && <a href={to(['things', thing])}>{thing}</a>}
      </div>
      {busy && <progress aria-label="Progress" value={step.done} max={1} />}
      {found && (
        <Facts>
          <Fact name="Chip">{found.chip}</Fact>
          <Fact name="MAC address"><code>{found.mac}</code></Fact>
          <Fact name="Flash">{found.flashSize || '–'}</Fact>
          <Fact name="Partitions">{found.table.length ? found.table.map((p) => p.name).join(', ') : 'no table'}</Fact>
        </Facts>
      )}
      {choices.length > 0 && !busy && (
        <Field label="Identity goes to">
          {(a) => <select {...a} value={recipe.partition} onChange={(e) => setRecipe({ ...recipe, partition: e.currentTarget.value })}><option value="">the first that fits</option>{choices.map((p) => <option key={p.offset} value={p.name}>{p.name} at {hex(p.offset)}, {bytes(p.size)}</option>)}</select>}
        </Field>
      )}
      {log.current.length > 0 && !busy && <details><summary>What the loader said</summary><pre class="box" tabIndex={0} aria-label="What the loader said">{log.current.join('\n').slice(-20_000)}</pre></details>}
    </section>
  );
}
