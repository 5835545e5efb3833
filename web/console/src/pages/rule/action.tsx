// One action: as a form if there is one for it, or as JSON.
import { useState } from 'preact/hooks';
import { iot } from '../../lib/api';
import { forms, kindOf, plain, read, write } from '../../lib/rules';
import type { Action, FormField } from '../../lib/rules';
import { parse, pretty } from '../../lib/text';
import type { Json } from '../../lib/text';
import { Badge, Button, Card, Editor, Field, Note, Problem, toast, useAction, useLoad } from '../../ui/all';

export function ActionCard({ title, action, change, remove }: { title: string; action: Action; change: (a: Action) => void; remove: () => void }) {
  const kind = kindOf(action);
  const form = forms[kind];
  const able = plain(action);
  const [raw, setRaw] = useState(!able);
  const doc = action[kind] ?? {};
  return (
    <Card title={<>{title}: {form?.title ?? kind}</>} actions={<>
      {form && <Button aria-pressed={raw} disabled={raw && !able} onClick={() => setRaw(!raw)}>JSON</Button>}
      <Button icon="trash" kind="danger" aria-label={`Remove ${title.toLowerCase()}`} onClick={remove}>Remove</Button>
    </>}>
      {raw || !form ? <Raw title={title} action={action} change={change} /> : (
        <>
          <p class="muted">{form.says}</p>
          {form.fields.map((f) => <FormRow key={kind + f.path.join('/')} field={f} value={read(doc, f.path)} change={(v) => change({ [kind]: write(doc, f.path, v) })} />)}
          {kind === 'http' && <Destination url={String(doc.confirmationUrl || doc.url || '')} />}
        </>
      )}
    </Card>
  );
}

function FormRow({ field: f, value, change }: { field: FormField; value: Json | undefined; change: (v: Json | undefined) => void }) {
  if (f.flag) return <label class="check"><input type="checkbox" checked={value === true} onChange={(e) => change(e.currentTarget.checked || undefined)} /> {f.label}</label>;
  if (f.options) {
    return <Field label={f.label} hint={f.hint}>{(a) => (
      <select {...a} value={String(value ?? f.options![0])} onChange={(e) => {
        const v = e.currentTarget.value;
        change(v === f.options![0] ? undefined : f.numeric ? Number(v) : v);
      }}>{f.options!.map((o) => <option key={o} value={o}>{o || 'none'}</option>)}</select>
    )}</Field>;
  }
  const text = Array.isArray(value) ? value.join(', ') : String(value ?? '');
  return <Field label={f.label} hint={f.hint}>{(a) => (
    <input {...a} value={text} required={f.required} aria-required={f.required} spellcheck={false} autocomplete="off" onInput={(e) => {
      const v = e.currentTarget.value;
      change(v === '' ? undefined : f.names ? v.split(/[\s,]+/).filter((x, i, l) => x || i === l.length - 1) : v);
    }} />
  )}</Field>;
}

function Raw({ title, action, change }: { title: string; action: Action; change: (a: Action) => void }) {
  const [text, setText] = useState(pretty(action));
  const bad = parse(text);
  return (
    <div class="field">
      <Editor label={`${title} as JSON`} rows={8} value={text} badLine={bad.line} aria-invalid={!!bad.error} change={(s) => {
        setText(s);
        const v = parse(s).value;
        if (v && typeof v === 'object' && !Array.isArray(v)) change(v as Action);
      }} />
      <p class={bad.error ? 'hint bad' : 'hint'}>{bad.error ?? 'One member, the name of the action, with its fields, as in the AWS IoT developer guide.'}</p>
    </div>
  );
}

interface Confirmed { arn: string; status: string; statusReason?: string; httpUrlSummary?: { confirmationUrl: string } }

/** Destination says whether a URL has agreed to get messages, and asks it to. */
function Destination({ url }: { url: string }) {
  const { value, error, reload } = useLoad(() => iot.get<{ destinationSummaries: Confirmed[] }>('/destinations'), []);
  const ask = useAction(async () => {
    await iot.post('/destinations', { destinationConfiguration: { httpUrlConfiguration: { confirmationUrl: url } } });
    toast('The URL was asked to confirm');
    reload();
  });
  if (!url || !value) return error ? <Problem error={error} retry={reload} /> : null;
  const found = value.destinationSummaries.find((d) => url.startsWith(d.httpUrlSummary?.confirmationUrl ?? '\0'));
  return (
    <>
      <div class="inline">
        {found ? <Badge tone={found.status === 'ENABLED' ? 'good' : 'warn'}>{found.status === 'ENABLED' ? 'confirmed' : found.status.toLowerCase().replace('_', ' ')}</Badge> : <Badge tone="warn">not confirmed</Badge>}
        <Button changes busy={ask.busy} onClick={() => void ask.act()}>Ask the URL to confirm</Button>
        <Button icon="refresh" onClick={reload}>Look again</Button>
      </div>
      {(!found || found.status !== 'ENABLED') && <Note>{found?.statusReason || 'The URL gets a message with an address in it. Once somebody opens that address, messages of rules may go there.'}</Note>}
      {ask.error ? <Problem error={ask.error} /> : null}
    </>
  );
}
