import { useEffect, useState } from 'preact/hooks';
import { boards, csv, keep } from '../lib/factory';
import type { Recipe } from '../lib/factory';
import { download } from '../lib/files';
import { canMakeKeys } from '../lib/keys';
import { to } from '../lib/router';
import { Badge, Button, Card, Confirm, Empty, Note, Page, Stamp, Table } from '../ui/all';
import { RecipeCard } from './factory/recipe';
import { Station } from './factory/station';
import type { SerialPortLike } from './factory/station';

interface Serial extends EventTarget {
  requestPort(): Promise<SerialPortLike>;
  getPorts(): Promise<SerialPortLike[]>;
}

const serial = () => (navigator as { serial?: Serial }).serial;

export default function Factory() {
  const [ports, setPorts] = useState<SerialPortLike[]>([]);
  const [recipe, setRecipe] = useState<Recipe>({ thing: 'board-{mac}', format: 'spiffs', partition: '', firmware: [], baud: 460800, replace: false });
  const [problem, setProblem] = useState('');
  const [clearing, setClearing] = useState(false);
  useEffect(() => {
    const s = serial();
    if (!s) return;
    const add = (list: SerialPortLike[]) => setPorts((have) => [...have, ...list.filter((p) => !have.includes(p))]);
    s.getPorts().then(add, () => {});
    const came = (e: Event) => add([e.target as unknown as SerialPortLike]);
    s.addEventListener('connect', came);
    return () => s.removeEventListener('connect', came);
  }, []);
  const ask = async () => {
    setProblem('');
    try {
      const p = await serial()!.requestPort();
      setPorts((have) => (have.includes(p) ? have : [...have, p]));
    } catch (e) {
      if ((e as DOMException).name !== 'NotFoundError') setProblem((e as Error).message);
    }
  };
  const add = <Button kind="primary" icon="plus" changes disabled={!serial()} onClick={() => void ask()}>Add port</Button>;
  const passed = boards.value.filter((b) => b.result === 'PASS').length;
  return (
    <Page title="Factory" lead="Boards on this computer's USB ports get firmware and an identity, and are verified. For a line without a browser there is berth station." actions={add}>
      {!serial() && <Note tone="warn" title="This browser cannot reach serial ports">Open this page in Chrome, Edge or Opera on a computer, over https:// or on localhost; or use <code>berth station</code>, which needs no browser.</Note>}
      {!canMakeKeys() && <Note tone="warn" title="Keys cannot be made here">Open the console over https:// or on localhost.</Note>}
      {problem && <Note tone="bad" title="The port could not be added">{problem}</Note>}
      {ports.length ? (
        <div class="stations">{ports.map((p, i) => <Station key={i} number={i + 1} port={p} recipe={recipe} setRecipe={setRecipe} />)}</div>
      ) : (
        <Card><Empty icon="factory" title="No port yet" actions={add}>Plug a board in and add its port; the browser remembers it. Every port has a screen of its own here, so several boards can be prepared at once.</Empty></Card>
      )}
      <RecipeCard recipe={recipe} change={setRecipe} />
      <Card tight={boards.value.length > 0} title={`Boards done${boards.value.length ? `: ${passed} passed, ${boards.value.length - passed} failed` : ''}`} actions={boards.value.length > 0 && <>
        <Button icon="download" onClick={() => download('boards.csv', csv(boards.value), 'text/csv')}>CSV</Button>
        <Button onClick={() => setClearing(true)}>Clear</Button>
      </>}>
        {boards.value.length ? (
          <Table label="Boards done" columns={['Time', 'Result', 'MAC address', 'Chip', 'Thing', 'Reason']} rows={boards.value.slice(0, 200).map((b, i) => ({
            key: `${b.at}-${i}`,
            cells: [<Stamp ms={b.at} />, <Badge tone={b.result === 'PASS' ? 'good' : 'bad'}>{b.result}</Badge>, <code>{b.mac}</code>, b.chip, b.thing && <a href={to(['things', b.thing])}>{b.thing}</a>, <span dir="auto">{b.reason}</span>],
          }))} />
        ) : <p class="muted">Every board that is prepared on this computer is listed here, and the list can be taken along as CSV.</p>}
      </Card>
      {clearing && <Confirm title="Clear the list?" verb="Clear" close={() => setClearing(false)} run={async () => keep([])}>The things stay; only the list on this computer is gone.</Confirm>}
    </Page>
  );
}
