// One table: plot, latest readings, rows, export, how long readings stay.
import { useEffect, useMemo, useState } from 'preact/hooks';
import { berth } from '../../lib/api';
import { download } from '../../lib/files';
import { at, query, series, shown, span } from '../../lib/tables';
import type { Aggregate, Latest, Range, Row, TableDescription } from '../../lib/tables';
import { go, place, setQuery, to } from '../../lib/router';
import { bytes, moment, number, visible } from '../../lib/text';
import { Button, Card, Confirm, Dialog, Empty, Fact, Facts, Field, Icon, Loading, Note, Page, Problem, TabPanel, Table, Tabs, When, toast, useAction, useLoad } from '../../ui/all';
import { Plot } from '../../ui/plot';
import type { Line } from '../../ui/plot';

type Tab = 'plot' | 'latest' | 'rows' | 'export';
const back = { href: to(['data']), text: 'Data' };
const spans: [string, string, number][] = [['15m', '15 minutes', 900], ['1h', 'Hour', 3600], ['6h', '6 hours', 6 * 3600], ['24h', 'Day', 86_400], ['7d', 'Week', 7 * 86_400], ['30d', '30 days', 30 * 86_400]];
const livePace = 2000; // milliseconds
const mostLines = 24;

export default function Readings({ name }: { name: string }) {
  const table = useLoad(() => berth.get<TableDescription>(at(name)), [name]);
  const things = useLoad(() => berth.get<{ things: { thing: string }[]; nextToken?: string }>(at(name, '/things'), { limit: 1000 }), [name]);
  const [deleting, setDeleting] = useState(false);
  const [keeping, setKeeping] = useState(false);
  const tab = (place.value.query.get('tab') ?? 'plot') as Tab;
  if (table.error) return <Page title={name} back={back}><Problem error={table.error} retry={table.reload} /></Page>;
  if (!table.value || !things.value) return <Page title={name} back={back}>{things.error ? <Problem error={things.error} retry={things.reload} /> : <Loading />}</Page>;
  const t = table.value;
  const names = things.value.things.map((x) => x.thing);
  return (
    <Page title={name} back={back} lead={`${number(t.rows)} rows of ${number(t.things)} ${t.things === 1 ? 'thing' : 'things'}, ${bytes(t.bytes)}. ${t.retentionSeconds > 0 ? `Kept for ${span(t.retentionSeconds)}.` : t.retentionSeconds < 0 ? 'Kept for good.' : 'Kept as long as the server keeps tables.'}`} actions={<>
      <Button changes onClick={() => setKeeping(true)}>Retention</Button>
      <Button icon="trash" kind="danger" changes onClick={() => setDeleting(true)}>Delete</Button>
    </>}>
      <Tabs label={`About ${name}`} tabs={[['plot', 'Plot'], ['latest', 'Live'], ['rows', 'Rows'], ['export', 'Export']]} current={tab} select={(k) => setQuery({ tab: k === 'plot' ? undefined : k })} />
      <TabPanel current={tab}>
        {tab === 'plot' && <Plots table={t} things={names} more={!!things.value.nextToken} />}
        {tab === 'latest' && <Live table={name} />}
        {tab === 'rows' && <Rows table={name} />}
        {tab === 'export' && <Export table={t} things={names} />}
      </TabPanel>
      {keeping && <Retention table={t} close={() => setKeeping(false)} done={table.reload} />}
      {deleting && <Confirm title={`Delete ${name}?`} verb="Delete" close={() => setDeleting(false)} run={async () => {
        await berth.del(at(name));
        toast(`${name} is deleted`);
        go(['data']);
      }}>{number(t.rows)} rows are gone for good. A rule that writes to the table makes it anew with the next message.</Confirm>}
    </Page>
  );
}

/** Choice is a short list of boxes to tick, with a filter if it is long. */
function Choice({ label, all, chosen, change }: { label: string; all: string[]; chosen: string[]; change: (c: string[]) => void }) {
  const [text, setText] = useState('');
  const found = all.filter((x) => x.toLowerCase().includes(text.toLowerCase()));
  return (
    <fieldset class="columns choice">
      <legend class="legend">{label} ({chosen.length} of {number(all.length)})</legend>
      {all.length > 8 && <input type="search" aria-label={`Filter: ${label.toLowerCase()}`} placeholder="Filter" value={text} onInput={(e) => setText(e.currentTarget.value)} />}
      {found.slice(0, 100).map((x) => <label class="check" key={x}><input type="checkbox" checked={chosen.includes(x)} onChange={(e) => change(e.currentTarget.checked ? [...chosen, x] : chosen.filter((y) => y !== x))} /> <span dir="auto">{visible(x) || '(no thing)'}</span></label>)}
      {found.length > 100 && <p class="hint">{number(found.length - 100)} more: filter them.</p>}
    </fieldset>
  );
}

function useRange(): { range: () => Range; name: string; set: (name: string) => void; zoom: (r?: Range) => void; zoomed: boolean } {
  const q = place.value.query;
  const name = q.get('last') ?? '1h';
  const from = Number(q.get('from')), to = Number(q.get('to'));
  const zoomed = from > 0 && to > from;
  return {
    name, zoomed,
    range: () => (zoomed ? { from, to } : { from: Date.now() - 1000 * (spans.find(([k]) => k === name)?.[2] ?? 3600), to: Date.now() + 1000 }),
    set: (last) => setQuery({ last, from: undefined, to: undefined }),
    zoom: (r) => setQuery({ from: r && String(Math.round(r.from)), to: r && String(Math.round(r.to)) }),
  };
}

function Plots({ table: t, things, more }: { table: TableDescription; things: string[]; more: boolean }) {
  const numbers = t.measureInfo.filter((m) => m.kinds.includes('number') || m.kinds.includes('bool')).map((m) => m.name);
  const q = place.value.query;
  const chosen = q.has('thing') ? q.get('thing')!.split('\n').filter((x) => things.includes(x)) : things.slice(0, 4);
  const measures = q.has('measure') ? q.get('measure')!.split('\n').filter((x) => numbers.includes(x)) : numbers.slice(0, 1);
  const aggregate = (q.get('as') ?? 'avg') as Aggregate;
  const [live, setLive] = useState(false);
  const r = useRange();
  const key = [t.name, chosen, measures, aggregate, r.name, r.zoomed && r.range()];
  const { value, error, loading, reload } = useLoad(async (signal) => {
    const range = r.range();
    if (!chosen.length || !measures.length) return { series: [], every: 0, cut: false, range };
    return { ...(await series(t.name, chosen, measures, range, aggregate, signal)), range };
  }, key);
  useEffect(() => {
    if (!live) return;
    const timer = setInterval(() => document.hidden || reload(), livePace);
    return () => clearInterval(timer);
  }, [live]);
  const plotted = useMemo(() => {
    const list = value?.series.slice(0, mostLines) ?? [];
    const times = [...new Set(list.flatMap((s) => [...s.values.keys()]))].sort((a, b) => a - b);
    const lines = list.map((s, i): Line => ({ label: measures.length > 1 ? `${visible(s.thing) || '(no thing)'} ${visible(s.measure)}` : visible(s.thing) || '(no thing)', color: i, dash: i >= 8, values: times.map((x) => s.values.get(x)) }));
    return { times, lines };
  }, [value]);
  if (!numbers.length) return <Card><Empty icon="chart" title="Nothing to plot">The table has no measures that are numbers. The rows are under Rows.</Empty></Card>;
  return (
    <div class="plot-page">
      <Card>
        <Choice label="Things" all={things} chosen={chosen} change={(c) => setQuery({ thing: c.join('\n') || '\n' })} />
        {more && <p class="hint">The first 1000 things are offered.</p>}
        <Choice label="Measures" all={numbers} chosen={measures} change={(c) => setQuery({ measure: c.join('\n') || '\n' })} />
        <Field label="Each point is the">{(a) => <select {...a} value={aggregate} onChange={(e) => setQuery({ as: e.currentTarget.value })}>{([['avg', 'average'], ['min', 'smallest'], ['max', 'largest'], ['sum', 'sum'], ['count', 'number of readings'], ['first', 'first'], ['last', 'last']] as const).map(([k, text]) => <option key={k} value={k}>{text}</option>)}</select>}</Field>
      </Card>
      <Card>
        <div class="inline">
          <div class="inline" role="group" aria-label="Range">{spans.map(([k, text]) => <Button key={k} aria-pressed={!r.zoomed && r.name === k} onClick={() => r.set(k)}>{text}</Button>)}</div>
          <Button icon={live ? 'pause' : 'play'} aria-pressed={live} disabled={r.zoomed} onClick={() => setLive(!live)}>Live</Button>
          {r.zoomed && <Button onClick={() => r.zoom()}>Whole range</Button>}
          {t.last && t.last < r.range().from && !r.zoomed ? <Button onClick={() => r.zoom({ from: t.last! - 3_600_000, to: t.last! + 1000 })}>Go to the latest readings</Button> : null}
        </div>
        {error ? <Problem error={error} retry={reload} /> : null}
        {!value ? <Loading what="Reading" /> : plotted.lines.length ? (
          <Plot label={`${measures.join(', ')} of ${t.name}`} times={plotted.times} lines={plotted.lines} range={[value.range.from / 1000, value.range.to / 1000]} zoom={(from, to) => r.zoom({ from: from * 1000, to: to * 1000 })} />
        ) : <Empty icon="chart" title={chosen.length && measures.length ? 'No readings in this range' : 'Choose things and measures'}>{t.last ? <>The latest reading is of {moment(t.last)}. Choose a longer range.</> : 'The table is empty.'}</Empty>}
        {value && plotted.lines.length > 0 && <p class="hint" role="status">{loading ? 'Reading… ' : ''}One point is {span(value.every)}. Drag over the plot to look closer.</p>}
        {value && value.series.length > mostLines && <Note tone="warn">{value.series.length} lines are too many to tell apart: the first {mostLines} are drawn.</Note>}
        {value?.cut && <Note tone="warn">There is more than fits: choose fewer things, or a shorter range.</Note>}
      </Card>
    </div>
  );
}

function Live({ table }: { table: string }) {
  const [paused, setPaused] = useState(false);
  const [text, setText] = useState('');
  const { value, error, reload } = useLoad(() => berth.get<{ latest: Latest[] | null }>(at(table, '/latest')), [table]);
  useEffect(() => {
    if (paused) return;
    const timer = setInterval(() => document.hidden || reload(), livePace);
    return () => clearInterval(timer);
  }, [paused]);
  const found = (value?.latest ?? []).filter((l) => `${l.thing} ${l.measure}`.toLowerCase().includes(text.toLowerCase())).sort((a, b) => b.time - a.time);
  return (
    <Card tight title="Latest readings" actions={<Button icon={paused ? 'play' : 'pause'} aria-pressed={paused} onClick={() => setPaused(!paused)}>Pause</Button>}>
      <div class="toolbar"><div class="search grow"><Icon name="search" /><input type="search" data-search aria-label="Filter by thing or measure" placeholder="Filter by thing or measure" value={text} onInput={(e) => setText(e.currentTarget.value)} /><kbd aria-hidden="true">/</kbd></div></div>
      {error ? <Problem error={error} retry={reload} /> : !value ? <Loading /> : (
        <Table label="Latest readings" columns={['Thing', 'Measure', 'Value', 'When']} rows={found.slice(0, 200).map((l) => ({ key: l.thing + '\n' + l.measure, cells: [<span dir="auto">{visible(l.thing)}</span>, <span dir="auto">{visible(l.measure)}</span>, <strong dir="auto">{visible(shown(l.value)).slice(0, 500)}</strong>, <When ms={l.time} />] }))} />
      )}
      {found.length > 200 && <p class="pad hint">The 200 newest of {number(found.length)}: filter for others.</p>}
    </Card>
  );
}

function Rows({ table }: { table: string }) {
  const [tokens, setTokens] = useState<string[]>([]);
  const { value, error, reload } = useLoad(() => berth.get<{ rows?: Row[]; nextToken?: string }>(at(table, '/rows') + query({ order: 'desc', limit: 100, token: tokens[tokens.length - 1] })), [table, tokens]);
  const names = [...new Set(value?.rows?.flatMap((r) => Object.keys(r.measures)) ?? [])].slice(0, 20);
  return (
    <Card tight title="Rows, the newest first" actions={<>
      <Button disabled={!tokens.length} onClick={() => setTokens(tokens.slice(0, -1))}>Newer</Button>
      <Button disabled={!value?.nextToken} onClick={() => setTokens([...tokens, value!.nextToken!])}>Older</Button>
      <Button icon="refresh" onClick={() => (tokens.length ? setTokens([]) : reload())}>Refresh</Button>
    </>}>
      {error ? <Problem error={error} retry={reload} /> : !value ? <Loading /> : <Table label="Rows" columns={['Time', 'Thing', ...names.map((n) => <span dir="auto">{visible(n)}</span>)]} rows={(value.rows ?? []).map((r, i) => ({ key: i, cells: [<span class="when">{moment(r.time)}</span>, <span dir="auto">{visible(r.thing)}</span>, ...names.map((n) => (r.measures[n] === undefined ? '' : <span dir="auto">{visible(shown(r.measures[n])).slice(0, 200)}</span>))] }))} />}
    </Card>
  );
}

const formats = [['csv', 'CSV'], ['ndjson', 'NDJSON'], ['parquet', 'Parquet']] as const;

function Export({ table: t, things }: { table: TableDescription; things: string[] }) {
  const [last, setLast] = useState('');
  const [every, setEvery] = useState('');
  const [chosen, setChosen] = useState<string[]>([]);
  const save = useAction(async (format: string) => {
    const b = await berth.bytes('GET', at(t.name, '/export') + query({ thing: chosen, last, every, format }));
    download(`${t.name}.${format}`, b);
  });
  return (
    <Card title="Export">
      <div class="split">
        <div class="stack">
          <Field label="Range">{(a) => <select {...a} value={last} onChange={(e) => setLast(e.currentTarget.value)}><option value="">All readings</option>{spans.map(([k, text]) => <option key={k} value={k}>{text}</option>)}</select>}</Field>
          <Field label="Averages" hint="Rows as they came, or one row for each thing and interval.">{(a) => <select {...a} value={every} onChange={(e) => setEvery(e.currentTarget.value)}><option value="">No, every row</option>{[['1m', 'of a minute'], ['15m', 'of 15 minutes'], ['1h', 'of an hour'], ['1d', 'of a day']].map(([k, text]) => <option key={k} value={k}>{text}</option>)}</select>}</Field>
        </div>
        <Choice label="Only these things; none for all" all={things} chosen={chosen} change={setChosen} />
      </div>
      {save.error ? <Problem error={save.error} /> : null}
      <div class="actions">{formats.map(([k, text]) => <Button key={k} icon="download" busy={save.busy} onClick={() => void save.act(k)}>{text}</Button>)}</div>
      <p class="hint">Parquet is for pandas, DuckDB and Spark. From the command line: <code>berth table export {t.name}</code></p>
    </Card>
  );
}

function Retention({ table: t, close, done }: { table: TableDescription; close: () => void; done: () => void }) {
  const [seconds, setSeconds] = useState(String(t.retentionSeconds));
  const { act, busy, error } = useAction(async () => {
    await berth.put(at(t.name, '/retention'), { retentionSeconds: Number(seconds), maxBytes: t.maxBytes });
    toast('Changed');
    done();
    close();
  });
  const known: [string, string][] = [['0', 'As the server keeps tables'], ['-1', 'For good'], ...[1, 7, 30, 90, 365].map((d): [string, string] => [String(d * 86_400), span(d * 86_400)])];
  return (
    <Dialog title={`How long ${t.name} keeps readings`} close={close} actions={<><Button onClick={close}>Cancel</Button><Button kind="primary" changes busy={busy} onClick={() => void act()}>Change</Button></>}>
      <Facts><Fact name="Rows">{number(t.rows)}</Fact><Fact name="Oldest"><When ms={t.first} /></Fact></Facts>
      <Field label="Keep readings" hint="Older ones are deleted within a minute.">{(a) => <select {...a} value={seconds} onChange={(e) => setSeconds(e.currentTarget.value)}>{[...known, ...(known.some(([k]) => k === String(t.retentionSeconds)) ? [] : [[String(t.retentionSeconds), span(t.retentionSeconds)] as [string, string]])].map(([k, text]) => <option key={k} value={k}>{text}</option>)}</select>}</Field>
      {error ? <Problem error={error} /> : null}
    </Dialog>
  );
}
