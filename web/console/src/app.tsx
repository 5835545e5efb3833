// The frame around the pages: navigation, who is signed in, shortcuts.
import { signal } from '@preact/signals';
import type { ComponentType } from 'preact';
import { Component } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { session, signOut } from './lib/api';
import { place, to } from './lib/router';
import { pages } from './pages/table';
import type { PageEntry, PageProps } from './pages/table';
import { SignIn } from './pages/signin';
import { useShortcuts } from './shortcuts';
import { nextTheme, theme } from './theme';
import { Button, Dialog, Icon, Loading, Problem, Toasts } from './ui';

const helpOpen = signal(false);
const menuOpen = signal(false);

export function App() {
  if (!session.value) return <Loading />;
  return (
    <>
      {session.value.signedIn ? <Frame /> : <SignIn />}
      <Toasts />
    </>
  );
}

function Logo() {
  return (
    <svg class="logo" width="28" height="28" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" />
      <path d="M9 7v13a5 5 0 0 0 10 0 5 5 0 0 0-10 0M7 25h18" fill="none" stroke-width="3" stroke-linecap="round" />
    </svg>
  );
}

function Frame() {
  const [name, ...path] = place.value.path;
  const page = pages.find((p) => p.name === (name ?? 'start'));
  useShortcuts(helpOpen);
  useEffect(() => {
    menuOpen.value = false;
    document.title = (path[0] ? path[0] + ' · ' : '') + (page?.title ?? 'Not found') + ' · berth';
  }, [place.value]);
  // A page that was opened by the keyboard or a link starts at its heading.
  useEffect(() => {
    const active = document.activeElement;
    if (active && active !== document.body && active.closest('nav, .skip')) document.querySelector<HTMLElement>('h1')?.focus({ preventScroll: true });
    scrollTo(0, 0);
  }, [name, path[0]]);
  const s = session.value!;
  const themeName = { auto: 'as the system', light: 'light', dark: 'dark' }[theme.value];
  return (
    <div class={menuOpen.value ? 'frame menu-open' : 'frame'}>
      <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); document.getElementById('main')?.focus(); }}>Skip to the page</a>
      <header class="bar">
        <button type="button" class="button quiet square" aria-label="Menu" aria-expanded={menuOpen.value} aria-controls="side" onClick={() => (menuOpen.value = !menuOpen.value)}><Icon name="menu" /></button>
        <a class="brand" href={to(['start'])}><Logo /> berth</a>
      </header>
      <nav class="side" id="side" aria-label="Pages">
        <a class="brand" href={to(['start'])}><Logo /> berth</a>
        <ul>
          {pages.map((p) => (
            <li key={p.name}>
              <a href={to([p.name])} aria-current={p === page ? 'page' : undefined}><Icon name={p.icon} /> {p.title}</a>
            </li>
          ))}
        </ul>
        <div class="side-foot">
          <div class="who" title={s.user}>
            <span class="who-name">{s.user === 'console' ? 'Console password' : s.user}</span>
            <span class="muted">{s.role}</span>
          </div>
          <div class="actions">
            <button type="button" class="button quiet square" aria-label={`Colours: ${themeName}. Change`} title={`Colours: ${themeName}`} onClick={nextTheme}><Icon name={theme.value === 'auto' ? 'auto' : theme.value === 'light' ? 'sun' : 'moon'} /></button>
            <button type="button" class="button quiet square" aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)" onClick={() => (helpOpen.value = true)}><Icon name="keyboard" /></button>
            <button type="button" class="button quiet square" aria-label="Sign out" title="Sign out" onClick={() => signOut().catch(() => {})}><Icon name="signout" /></button>
          </div>
        </div>
      </nav>
      <div class="shade" onClick={() => (menuOpen.value = false)} />
      <main id="main" tabIndex={-1}>
        {page ? <Guard key={page.name + '/' + path.join('/')}><Outlet page={page} path={path} /></Guard> : <NotFound />}
      </main>
      {helpOpen.value && <Help />}
    </div>
  );
}

function NotFound() {
  return <Problem error={new Error('There is no such page. Choose one on the left.')} />;
}

const loaded = new Map<string, ComponentType<PageProps>>();

function Outlet({ page, path }: { page: PageEntry; path: string[] }) {
  const [, again] = useState(0);
  const [error, setError] = useState<unknown>();
  const C = loaded.get(page.name);
  useEffect(() => {
    if (C) return;
    page.load().then((m) => {
      loaded.set(page.name, m.default);
      again((n) => n + 1);
    }, setError);
  }, [page.name]);
  if (error) return <Problem error={new Error('The page could not be loaded: the server may have been updated. Reload the browser tab.')} retry={() => location.reload()} />;
  return C ? <C path={path} /> : <Loading />;
}

/** Guard keeps a page's failure from taking the frame along. */
class Guard extends Component<{ children: preact.ComponentChildren }, { error?: unknown }> {
  state: { error?: unknown } = {};
  componentDidCatch(error: unknown) {
    this.setState({ error });
  }
  render() {
    return this.state.error ? <Problem error={this.state.error} retry={() => this.setState({ error: undefined })} /> : this.props.children;
  }
}

function Help() {
  const row = (keys: string[], what: string) => <div class="shortcut"><dt>{keys.map((k) => <kbd key={k}>{k}</kbd>)}</dt><dd>{what}</dd></div>;
  return (
    <Dialog title="Keyboard shortcuts" close={() => (helpOpen.value = false)} actions={<Button onClick={() => (helpOpen.value = false)} data-autofocus>Close</Button>}>
      <dl class="shortcuts">
        {row(['/'], 'Search on this page')}
        {pages.map((p) => row(['g', p.key], p.title))}
        {row(['?'], 'This list')}
        {row(['Esc'], 'Close a dialog')}
      </dl>
    </Dialog>
  );
}
