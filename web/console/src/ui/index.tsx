// The components that every page is made of.
import { signal } from '@preact/signals';
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { ApiError, isAdmin } from '../lib/api';
import { ago, moment } from '../lib/text';
import { Icon } from './icons';
import type { IconName } from './icons';

export { Icon };
export type { IconName };

type Kind = 'primary' | 'danger' | 'plain' | 'quiet';

export interface ButtonProps extends Omit<JSX.IntrinsicElements['button'], 'icon'> {
  kind?: Kind;
  icon?: IconName;
  busy?: boolean;
  /** changes: only admins can press it, and viewers are told why */
  changes?: boolean;
}

export function Button({ kind = 'plain', icon, busy, changes, children, disabled, ...rest }: ButtonProps) {
  const barred = changes && !isAdmin();
  return (
    <button type="button" {...rest} class={`button ${kind} ${rest.class ?? ''}`} disabled={disabled || busy || barred} aria-busy={busy || undefined} title={barred ? 'You are signed in as a viewer, who can change nothing.' : rest.title}>
      {busy ? <span class="spinner" aria-hidden="true" /> : icon && <Icon name={icon} size={18} />}
      {children && <span>{children}</span>}
    </button>
  );
}

/** Page is the frame of a page: its heading, what can be done, and the contents. */
export function Page({ title, lead, back, actions, children }: { title: ComponentChildren; lead?: ComponentChildren; back?: { href: string; text: string }; actions?: ComponentChildren; children: ComponentChildren }) {
  return (
    <>
      <header class="page-head">
        <div class="page-title">
          {back && <a class="back" href={back.href}>‹ {back.text}</a>}
          <h1 tabIndex={-1} dir="auto">{title}</h1>
          {lead && <p class="lead">{lead}</p>}
        </div>
        {actions && <div class="actions">{actions}</div>}
      </header>
      {children}
    </>
  );
}

export function Card({ title, actions, children, tight }: { title?: ComponentChildren; actions?: ComponentChildren; children: ComponentChildren; tight?: boolean }) {
  return (
    <section class={tight ? 'card tight' : 'card'}>
      {(title || actions) && (
        <div class="card-head">
          {title && <h2>{title}</h2>}
          {actions && <div class="actions">{actions}</div>}
        </div>
      )}
      {children}
    </section>
  );
}

/** Field is a labelled control; child gets the id that the label names. */
export function Field({ label, hint, error, children }: { label: string; hint?: ComponentChildren; error?: string; children: (a: { id: string; 'aria-describedby'?: string; 'aria-invalid'?: boolean }) => ComponentChildren }) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children({ id, 'aria-describedby': hint || error ? id + '-hint' : undefined, 'aria-invalid': error ? true : undefined })}
      {(hint || error) && (
        <p class={error ? 'hint bad' : 'hint'} id={id + '-hint'}>
          {error || hint}
        </p>
      )}
    </div>
  );
}

export type Tone = 'good' | 'bad' | 'warn' | 'info' | 'none';

export function Badge({ tone = 'none', children }: { tone?: Tone; children: ComponentChildren }) {
  return <span class={'badge ' + tone}>{children}</span>;
}

const noteIcons: Record<Tone, IconName> = { good: 'check', bad: 'bad', warn: 'warning', info: 'info', none: 'info' };

/** Note is a message in the page; bad ones are announced. */
export function Note({ tone = 'info', title, children, actions }: { tone?: Tone; title?: ComponentChildren; children?: ComponentChildren; actions?: ComponentChildren }) {
  return (
    <div class={'note ' + tone} role={tone === 'bad' ? 'alert' : undefined}>
      <Icon name={noteIcons[tone]} />
      <div>
        {title && <strong>{title}</strong>}
        {children && <div class="note-body">{children}</div>}
        {actions && <div class="actions">{actions}</div>}
      </div>
    </div>
  );
}

/** advice says what to do about exceptions whose messages alone do not. */
const advice: Record<string, string> = {
  ThrottlingException: 'Wait a moment and try again.',
  VersionConflictException: 'Somebody else changed it meanwhile. Load it again and repeat your change.',
  AccessDeniedException: 'Sign in with the console password or an admin key to make changes.',
  DeleteConflictException: 'Something still uses it. Detach it there first.',
  InternalFailureException: 'The server\'s log says what went wrong.',
};

export function Problem({ error, retry }: { error: unknown; retry?: () => void }) {
  const e = error as Error;
  const kind = e instanceof ApiError ? e.kind : '';
  return (
    <Note tone="bad" title={kind && kind !== 'NetworkError' ? kind.replace(/Exception$/, '').replace(/([a-z])([A-Z])/g, '$1 $2').toLowerCase().replace(/^./, (c) => c.toUpperCase()) : 'That did not work'} actions={retry && <Button icon="refresh" onClick={retry}>Try again</Button>}>
      <span dir="auto">{e?.message ?? String(error)}</span> {advice[kind] ?? ''}
    </Note>
  );
}

/** Empty teaches what a page is for when there is nothing in it yet. */
export function Empty({ icon, title, children, actions }: { icon: IconName; title: string; children?: ComponentChildren; actions?: ComponentChildren }) {
  return (
    <div class="empty">
      <span class="empty-icon"><Icon name={icon} size={28} /></span>
      <h2>{title}</h2>
      {children && <div class="empty-text">{children}</div>}
      {actions && <div class="actions">{actions}</div>}
    </div>
  );
}

export function Loading({ what = 'Loading' }: { what?: string }) {
  const [late, setLate] = useState(false);
  useEffect(() => {
    const t = setTimeout(() => setLate(true), 250);
    return () => clearTimeout(t);
  }, []);
  return <div class="loading" role="status">{late && <><span class="spinner" aria-hidden="true" /> {what}…</>}</div>;
}

export function Copy({ text, what }: { text: string; what: string }) {
  const [done, setDone] = useState(false);
  return (
    <button type="button" class="button quiet square" aria-label={done ? 'Copied' : `Copy ${what}`} title={`Copy ${what}`} onClick={async () => {
      if (await copy(text)) {
        setDone(true);
        say(`Copied ${what}`);
        setTimeout(() => setDone(false), 1500);
      } else toast('Copying was not allowed by the browser. Select the text and press Ctrl+C.', 'warn');
    }}>
      <Icon name={done ? 'check' : 'copy'} size={18} />
    </button>
  );
}

async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** Value is a short text to be copied. */
export function Value({ text, what }: { text: string; what: string }) {
  return <span class="value"><code dir="auto">{text}</code><Copy text={text} what={what} /></span>;
}

export function Facts({ children }: { children: ComponentChildren }) {
  return <dl class="facts">{children}</dl>;
}

export function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return <div><dt>{name}</dt><dd dir="auto">{children}</dd></div>;
}

export function When({ ms }: { ms?: number }) {
  useTick(30_000);
  return ms ? <time dateTime={new Date(ms).toISOString()} title={moment(ms)}>{ago(ms)}</time> : <span class="muted">never</span>;
}

/** Stamp is a moment to the second, for tables. */
export function Stamp({ ms }: { ms: number }) {
  return <time class="stamp" dateTime={new Date(ms).toISOString()}>{moment(ms)}</time>;
}

/** useTick renders again every so many milliseconds. */
export function useTick(every: number): void {
  const [, set] = useState(0);
  useEffect(() => {
    const t = setInterval(() => set((n) => n + 1), every);
    return () => clearInterval(t);
  }, [every]);
}

export interface Loaded<T> {
  value?: T;
  error?: unknown;
  loading: boolean;
  reload: () => void;
}

/** useLoad loads something when deps change; an old value stays until the new one is there. */
export function useLoad<T>(load: (signal: AbortSignal) => Promise<T>, deps: unknown[]): Loaded<T> {
  const [state, set] = useState<{ value?: T; error?: unknown; loading: boolean; key?: string }>({ loading: true });
  const [turn, again] = useState(0);
  const key = JSON.stringify(deps);
  useEffect(() => {
    const abort = new AbortController();
    set((s) => (s.key === key ? { ...s, loading: true } : { loading: true, key }));
    load(abort.signal).then(
      (value) => !abort.signal.aborted && set({ value, loading: false, key }),
      (error) => !abort.signal.aborted && set((s) => ({ value: s.value, error, loading: false, key })),
    );
    return () => abort.abort();
  }, [key, turn]);
  return { ...(state.key === key ? state : { loading: true }), reload: () => again((n) => n + 1) };
}

/** useAction runs something that changes things: busy while it runs, its error shown by the caller. */
export function useAction<A extends unknown[]>(run: (...a: A) => Promise<unknown>) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>();
  const act = async (...a: A): Promise<boolean> => {
    setBusy(true);
    setError(undefined);
    try {
      await run(...a);
      return true;
    } catch (e) {
      setError(e);
      return false;
    } finally {
      setBusy(false);
    }
  };
  return { act, busy, error, clear: () => setError(undefined) };
}

/** Tabs is a tab list in the manner of the ARIA authoring practices. */
export function Tabs<K extends string>({ tabs, current, select, label }: { tabs: [K, ComponentChildren][]; current: K; select: (k: K) => void; label: string }) {
  const refs = useRef<Record<string, HTMLElement | null>>({});
  const move = (by: number) => {
    const i = tabs.findIndex(([k]) => k === current);
    const next = tabs[(i + by + tabs.length) % tabs.length][0];
    select(next);
    refs.current[next]?.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label={label} onKeyDown={(e) => {
      if (e.key === 'ArrowRight') move(1);
      else if (e.key === 'ArrowLeft') move(-1);
      else return;
      e.preventDefault();
    }}>
      {tabs.map(([k, text]) => (
        <button key={k} type="button" role="tab" id={'tab-' + k} aria-selected={k === current} aria-controls="tabpanel" tabIndex={k === current ? 0 : -1} ref={(el) => { refs.current[k] = el; }} onClick={() => select(k)}>
          {text}
        </button>
      ))}
    </div>
  );
}

export function TabPanel({ current, children }: { current: string; children: ComponentChildren }) {
  return <div role="tabpanel" id="tabpanel" aria-labelledby={'tab-' + current} class="tabpanel">{children}</div>;
}

/** Dialog is modal; Escape and the backdrop close it, and focus returns to where it was. */
export function Dialog({ title, close, children, actions, wide }: { title: string; close: () => void; children: ComponentChildren; actions?: ComponentChildren; wide?: boolean }) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    const d = ref.current!;
    d.showModal();
    d.querySelector<HTMLElement>('[data-autofocus]')?.focus();
    return () => before?.focus?.();
  }, []);
  return (
    <dialog ref={ref} class={wide ? 'wide' : undefined} aria-labelledby={id} onCancel={(e) => { e.preventDefault(); close(); }} onMouseDown={(e) => e.target === ref.current && close()}>
      <div class="dialog-body">
        <div class="card-head">
          <h2 id={id} dir="auto">{title}</h2>
          <button type="button" class="button quiet square" aria-label="Close" onClick={close}><Icon name="close" /></button>
        </div>
        {children}
        {actions && <div class="actions end">{actions}</div>}
      </div>
    </dialog>
  );
}

/** Confirm asks before something that cannot be undone. */
export function Confirm({ title, verb, run, close, children }: { title: string; verb: string; run: () => Promise<unknown>; close: () => void; children: ComponentChildren }) {
  const { act, busy, error } = useAction(run);
  return (
    <Dialog title={title} close={close} actions={<>
      <Button onClick={close} data-autofocus>Cancel</Button>
      <Button kind="danger" busy={busy} changes onClick={async () => { if (await act()) close(); }}>{verb}</Button>
    </>}>
      <div class="stack">{children}</div>
      {error ? <Problem error={error} /> : null}
    </Dialog>
  );
}

/** Editor is a text area with line numbers, for JSON and SQL. badLine is marked. */
export function Editor({ value, change, label, rows = 16, badLine, readOnly, ...rest }: { value: string; change?: (s: string) => void; label: string; rows?: number; badLine?: number; readOnly?: boolean; id?: string; 'aria-describedby'?: string; 'aria-invalid'?: boolean }) {
  const gutter = useRef<HTMLDivElement>(null);
  const lines = value.split('\n').length;
  return (
    <div class="editor">
      <div class="gutter" ref={gutter} aria-hidden="true">
        {Array.from({ length: Math.min(lines, 5000) }, (_, i) => <div key={i} class={badLine === i + 1 ? 'bad' : undefined}>{i + 1}</div>)}
      </div>
      <textarea {...rest} aria-label={rest.id ? undefined : label} rows={rows} value={value} readOnly={readOnly} spellcheck={false} autocomplete="off" wrap="off" dir="ltr"
        onInput={(e) => change?.(e.currentTarget.value)} onScroll={(e) => { if (gutter.current) gutter.current.scrollTop = e.currentTarget.scrollTop; }} />
    </div>
  );
}

/* What happened, in passing: toasts for eyes, a live region for ears. */
interface Toast { id: number; text: string; tone: Tone }
const toasts = signal<Toast[]>([]);
const said = signal('');
let nextToast = 1;

export function toast(text: string, tone: Tone = 'good'): void {
  const t = { id: nextToast++, text, tone };
  toasts.value = [...toasts.value.slice(-3), t];
  setTimeout(() => (toasts.value = toasts.value.filter((x) => x !== t)), tone === 'bad' ? 10_000 : 5_000);
}

/** say tells screen readers something that eyes see anyway. */
export function say(text: string): void {
  said.value = '';
  setTimeout(() => (said.value = text), 50);
}

export function Toasts() {
  return (
    <>
      <div class="toasts" role="status" aria-live="polite">
        {toasts.value.map((t) => <div key={t.id} class={'toast ' + t.tone}><Icon name={noteIcons[t.tone]} size={18} /><span dir="auto">{t.text}</span></div>)}
      </div>
      <div class="visually-hidden" role="status" aria-live="polite">{said.value}</div>
    </>
  );
}
