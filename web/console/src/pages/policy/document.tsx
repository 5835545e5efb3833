import { check } from '../../lib/policy';
import { Button, Editor, Field, Note } from '../../ui/all';

/** Checked is the editor of a policy document with what is wrong with it. */
export function Checked({ label, hint, value, change, least, rows }: { label: string; hint?: string; value: string; change?: (s: string) => void; least: string; rows?: number }) {
  const found = check(value);
  const bad = found.find((f) => f.tone === 'bad');
  return (
    <div class="stack">
      <Field label={label} hint={hint} error={bad?.text}>
        {(a) => <Editor {...a} label={label} value={value} change={change} readOnly={!change} badLine={bad?.line} rows={rows ?? Math.min(32, Math.max(10, value.split('\n').length + 1))} />}
      </Field>
      {found.filter((f) => f.tone === 'warn').slice(0, 8).map((f) => (
        <Note key={f.text} tone="warn" title={f.line ? `Line ${f.line}` : 'Take care'} actions={f.replace && change && least && <Button onClick={() => change(least)}>Use the least-privilege document</Button>}>{f.text}</Note>
      ))}
    </div>
  );
}

export const canSave = (text: string) => !check(text).some((f) => f.tone === 'bad');
