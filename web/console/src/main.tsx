import { render } from 'preact';
import { loadSession, session } from './lib/api';
import { App } from './app';
import { applyTheme } from './theme';

applyTheme();
render(<App />, document.getElementById('app')!);
loadSession().catch(() => {
  session.value = { signedIn: false };
});
