// Lines over time, drawn by uPlot. Loaded by the pages that plot.
import { effect } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { moment } from '../lib/text';
import { theme } from '../theme';

export interface Line {
  label: string;
  values: (number | null | undefined)[]; // by index of times; null is a gap, undefined no point
  color: number; // of --c0 to --c7
  dash?: boolean;
  unit?: string;
}

/** Plot draws lines over times in seconds since 1970. zoom is told what somebody marks with the mouse. */
export function Plot({ label, times, lines, height = 320, zoom, range, format = (v) => String(Number(v.toPrecision(6))) }: { label: string; times: number[]; lines: Line[]; height?: number; zoom?: (from: number, to: number) => void; range?: [number, number]; format?: (v: number) => string }) {
  const box = useRef<HTMLDivElement>(null);
  const latest = useRef({ times, lines, zoom, range });
  latest.current = { times, lines, zoom, range };
  const plot = useRef<uPlot | undefined>();
  const shape = JSON.stringify([lines.map((l) => [l.label, l.color, l.dash]), height]);
  useEffect(() => {
    const el = box.current!;
    const css = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const make = () => {
      plot.current?.destroy();
      const grid = { stroke: css('--line'), width: 1 };
      const axis = { stroke: css('--muted'), grid, ticks: grid, font: '12px system-ui, sans-serif' };
      const { times, lines } = latest.current;
      plot.current = new uPlot({
        width: Math.max(200, el.clientWidth), height, legend: { show: false }, cursor: { drag: { x: !!zoom, y: false } },
        scales: { x: { time: true, range: (_, min, max) => latest.current.range ?? [min, max] } },
        axes: [{ ...axis, values: (_: uPlot, list: number[], __: number, ___: number, step: number) => list.map((v, i) => day(v, list[i - 1], step)) }, { ...axis, size: 64, values: (_, list) => list.map((v) => (v == null ? '' : format(v))) }],
        series: [{}, ...lines.map((l) => ({ label: l.label, stroke: css('--c' + (l.color % 8)), width: 2, dash: l.dash ? [6, 4] : undefined, spanGaps: false, points: { size: 5, show: times.length < 80 } }))],
        hooks: {
          setSelect: [(u: uPlot) => {
            if (u.select.width < 8) return;
            latest.current.zoom?.(u.posToVal(u.select.left, 'x'), u.posToVal(u.select.left + u.select.width, 'x'));
            u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          }],
          setCursor: [(u: uPlot) => tell(u.cursor.idx)],
        },
      }, [times, ...lines.map((l) => l.values)] as uPlot.AlignedData, el);
    };
    const tip = el.nextElementSibling as HTMLElement;
    const tell = (i?: number | null) => {
      const { times, lines } = latest.current;
      tip.textContent = i == null || times[i] === undefined ? '' : `${moment(times[i] * 1000)}  ` + lines.filter((l) => l.values[i] != null).slice(0, 8).map((l) => `${l.label}: ${format(l.values[i]!)}`).join('  ');
    };
    make();
    const size = new ResizeObserver(() => plot.current?.setSize({ width: Math.max(200, el.clientWidth), height }));
    size.observe(el);
    const scheme = matchMedia('(prefers-color-scheme: dark)');
    scheme.addEventListener('change', make);
    let first = true;
    const stop = effect(() => {
      void theme.value;
      if (!first) setTimeout(make);
      first = false;
    });
    return () => {
      stop();
      scheme.removeEventListener('change', make);
      size.disconnect();
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, [shape]);
  useEffect(() => plot.current?.setData([times, ...lines.map((l) => l.values)] as uPlot.AlignedData), [times, lines]);
  return (
    <figure class="plot">
      <ul class="plot-legend" aria-label={`Lines of ${label}`}>{lines.map((l) => <li key={l.label} class={'color-' + (l.color % 8)}><span class={l.dash ? 'swatch dash' : 'swatch'} aria-hidden="true" /><span dir="auto">{l.label}</span></li>)}</ul>
      <div role="img" aria-label={`${label}: ${summary(lines, format)}`} ref={box} style={{ minHeight: `${height}px` }} />
      <figcaption class="hint plot-tip" />
    </figure>
  );
}

/** day is a moment on the axis: the time, and the date where it changes. */
function day(v: number, before: number | undefined, step: number): string {
  const [date, time] = moment(v * 1000).split(' ');
  if (step >= 86_400) return date;
  const short = time.slice(0, step < 60 ? 8 : 5);
  return before !== undefined && moment(before * 1000).startsWith(date) ? short : `${short}\n${date}`;
}

/** summary is the plot for those who do not see it. */
function summary(lines: Line[], format: (v: number) => string): string {
  return lines.slice(0, 8).map((l) => {
    const v = l.values.filter((x): x is number => x != null);
    return v.length ? `${l.label} from ${format(v.reduce((a, b) => Math.min(a, b)))} to ${format(v.reduce((a, b) => Math.max(a, b)))}, last ${format(v[v.length - 1])}` : `${l.label} without values`;
  }).join('; ');
}
