import { useState } from 'preact/hooks';
import { signIn } from '../lib/api';
import { Button, Field, Note, Tabs, useAction } from '../ui';

/** SignIn asks for the console's password or an access key. */
export function SignIn() {
  const [way, setWay] = useState<'password' | 'key'>('password');
  const [password, setPassword] = useState('');
  const [id, setID] = useState('');
  const [secret, setSecret] = useState('');
  const { act, busy, error, clear } = useAction(() => signIn(way === 'password' ? { password: password.trim() } : { accessKeyId: id.trim(), secretAccessKey: secret.trim() }));
  return (
    <main class="signin">
      <form class="card signin-card" onSubmit={(e) => { e.preventDefault(); void act(); }}>
        <div class="signin-head">
          <svg class="logo" width="44" height="44" viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="8" /><path d="M9 7v13a5 5 0 0 0 10 0 5 5 0 0 0-10 0M7 25h18" fill="none" stroke-width="3" stroke-linecap="round" /></svg>
          <h1>Sign in to berth</h1>
        </div>
        <Tabs label="How to sign in" tabs={[['password', 'Password'], ['key', 'Access key']]} current={way} select={(k) => { setWay(k); clear(); }} />
        <div role="tabpanel" id="tabpanel" aria-labelledby={'tab-' + way} class="stack">
          {way === 'password' ? (
            <Field label="Console password" hint={<>It is in the file <code>console-password</code> of the server's data folder.</>}>
              {(a) => <input {...a} type="password" name="password" autocomplete="current-password" required value={password} onInput={(e) => setPassword(e.currentTarget.value)} />}
            </Field>
          ) : (
            <>
              <Field label="Access key ID" hint="A read-only key lets you look and change nothing.">
                {(a) => <input {...a} name="username" autocomplete="username" required spellcheck={false} value={id} onInput={(e) => setID(e.currentTarget.value)} />}
              </Field>
              <Field label="Secret access key">
                {(a) => <input {...a} type="password" name="password" autocomplete="current-password" required value={secret} onInput={(e) => setSecret(e.currentTarget.value)} />}
              </Field>
            </>
          )}
          {error ? <Note tone="bad">{sentence((error as Error).message)}</Note> : null}
          <Button kind="primary" type="submit" busy={busy} class="whole">Sign in</Button>
        </div>
      </form>
    </main>
  );
}

const sentence = (s: string) => s.charAt(0).toUpperCase() + s.slice(1) + (s.endsWith('.') ? '' : '.');
