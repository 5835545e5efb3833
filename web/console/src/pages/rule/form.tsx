// The statement, what a message becomes, and the actions.
import { useEffect, useId, useState } from 'preact/hooks';
import { dryRun, forms, placeOf, templatesOf } from '../../lib/rules';
import type { Action, Rule } from '../../lib/rules';
import { Button, Card, Editor, Field, Note, Problem } from '../../ui/all';
import { ActionCard } from './action';
import { Trial } from './trial';

const settle = 250; // milliseconds after the last key before the statement is checked

/** useChecked asks the server what it thinks of a statement. */
function useChecked(sql: string, version?: string) {
  const [state, set] = useState<{ sql: string; filter?: string; warnings?: string[]; error?: unknown }>({ sql: '' });
  useEffect(() => {
    const abort = new AbortController();
    const t = setTimeout(() => dryRun({ sql, awsIotSqlVersion: version }, abort.signal).then(
      (r) => set({ sql, filter: r.topicPattern, warnings: r.warnings }),
      (error) => abort.signal.aborted || set({ sql, error })), settle);
    return () => {
      clearTimeout(t);
      abort.abort();
    };
  }, [sql, version]);
  return state;
}

export function RuleForm({ rule, change, checked }: { rule: Rule; change: (r: Rule) => void; checked: (good: boolean) => void }) {
  const state = useChecked(rule.sql, rule.awsIotSqlVersion);
  const current = state.sql === rule.sql;
  const wrong = current ? placeOf(state.error) : undefined;
  const id = useId();
  const set = (more: Partial<Rule>) => change({ ...rule, ...more });
  useEffect(() => checked(current && !state.error), [current, state.error]);
  const setAction = (i: number, a: Action) => set({ actions: rule.actions.map((x, n) => (n === i ? a : x)) });
  return (
    <div class="stack">
      <Card title="Statement">
        <div class="field">
          <label for={id}>SQL</label>
          <Editor id={id} label="SQL" rows={6} value={rule.sql} change={(sql) => set({ sql })} badLine={wrong?.line} aria-describedby={id + '-hint'} aria-invalid={!!wrong} />
          <p class={wrong ? 'hint bad' : 'hint'} id={id + '-hint'} aria-live="polite">
            {wrong ? <><strong>Line {wrong.line}, column {wrong.column}:</strong> {wrong.message}</> : current && state.filter ? <>It looks at messages to <code>{state.filter}</code>.</> : 'SELECT what FROM ’topic filter’ WHERE condition'}
          </p>
          {wrong && <pre class="box caret" aria-hidden="true">{rule.sql.split('\n')[wrong.line - 1]}{'\n' + ' '.repeat(Math.max(0, wrong.column - 1)) + '^'}</pre>}
        </div>
        {current && state.error && !wrong ? <Problem error={state.error} /> : null}
        {current && state.warnings?.map((w) => <Note key={w} tone="warn">{w}</Note>)}
        <div class="pair">
          <Field label="Version of the language">{(a) => <select {...a} value={rule.awsIotSqlVersion ?? '2015-10-08'} onChange={(e) => set({ awsIotSqlVersion: e.currentTarget.value })}>{['2016-03-23', '2015-10-08', 'beta'].map((v) => <option key={v}>{v}</option>)}</select>}</Field>
          <Field label="Description">{(a) => <input {...a} value={rule.description ?? ''} onInput={(e) => set({ description: e.currentTarget.value })} />}</Field>
        </div>
      </Card>
      <Trial sql={rule.sql} version={rule.awsIotSqlVersion} filter={current ? state.filter : undefined} templates={templatesOf(rule.actions as never)} />
      {rule.actions.map((a, i) => <ActionCard key={i} title={`Action ${i + 1}`} action={a} change={(x) => setAction(i, x)} remove={() => set({ actions: rule.actions.filter((_, n) => n !== i) })} />)}
      {rule.actions.length < 10 && <AddAction label="Add an action" verb="Add action" hint={rule.actions.length ? 'Each of up to ten actions gets the result.' : 'A rule without actions counts messages and does nothing else.'} add={(a) => set({ actions: [...rule.actions, a] })} />}
      {rule.errorAction ? <ActionCard title="When an action fails for good" action={rule.errorAction} change={(errorAction) => set({ errorAction })} remove={() => set({ errorAction: undefined })} />
        : <AddAction label="When an action fails for good" verb="Add error action" hint="It gets a document with the payload and why it failed." add={(errorAction) => set({ errorAction })} />}
    </div>
  );
}

function AddAction({ label, verb, hint, add }: { label: string; verb: string; hint: string; add: (a: Action) => void }) {
  const [kind, setKind] = useState('republish');
  return (
    <Card>
      <div class="inline top">
        <div class="grow"><Field label={label} hint={hint}>{(a) => (
          <select {...a} value={kind} onChange={(e) => setKind(e.currentTarget.value)}>
            {Object.entries(forms).map(([k, f]) => <option key={k} value={k}>{f.title}</option>)}
            <option value="">Another, as JSON</option>
          </select>
        )}</Field></div>
        <Button class="under-label" icon="plus" onClick={() => add(kind ? { [kind]: {} } : { kinesis: { streamName: 'readings', partitionKey: '${topic()}' } })}>{verb}</Button>
      </div>
    </Card>
  );
}

