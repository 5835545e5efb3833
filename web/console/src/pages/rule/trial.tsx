// A dry run: what a statement makes of a message that is pasted, or of the next one that comes.
import { useEffect, useRef, useState } from 'preact/hooks';
import { watch } from '../../lib/live';
import { dryRun } from '../../lib/rules';
import type { DryRun } from '../../lib/rules';
import { pretty, prettyText, utf8, visible } from '../../lib/text';
import { Button, Card, Editor, Field, Note, Problem, Table, useAction } from '../../ui/all';

/** base64 holds bytes that are not text. */
const base64 = (b: Uint8Array) => btoa(Array.from(b, (x) => String.fromCharCode(x)).join(''));

const example = (filter: string) => filter.split('/').map((p) => (p === '+' ? 'kettle-1' : p === '#' ? 'readings' : p)).join('/');

export function Trial({ sql, version, filter, templates }: { sql: string; version?: string; filter?: string; templates: string[] }) {
  const [topic, setTopic] = useState<string | undefined>();
  const [payload, setPayload] = useState('{ "temperature": 31.5 }');
  const [binary, setBinary] = useState<Uint8Array | undefined>();
  const [waiting, setWaiting] = useState(false);
  const [answer, setAnswer] = useState<DryRun | undefined>();
  const at = topic ?? (filter ? example(filter) : '');
  const now = useRef({ sql, version, templates });
  now.current = { sql, version, templates };
  const run = useAction(async (topic: string, payload: string, bytes?: Uint8Array) => {
    const { sql, version, templates } = now.current;
    setAnswer(undefined);
    setAnswer(await dryRun({ sql, awsIotSqlVersion: version, topic, templates, ...(bytes ? { payloadBase64: base64(bytes) } : { payload }) }));
  });
  useEffect(() => {
    if (!waiting || !filter) return;
    let done = false;
    const stop = watch(filter, (m) => {
      if (done) return;
      done = true;
      setWaiting(false);
      setTopic(m.topic);
      const text = utf8(m.payload);
      setBinary(text === undefined ? m.payload : undefined);
      setPayload(text === undefined ? '' : prettyText(text).text);
      void run.act(m.topic, text ?? '', text === undefined ? m.payload : undefined);
    });
    return stop;
  }, [waiting, filter]);
  return (
    <Card title="Try it" actions={<>
      <Button disabled={!filter} aria-pressed={waiting} onClick={() => setWaiting(!waiting)}>{waiting ? 'Waiting for a message…' : 'Take the next live message'}</Button>
      <Button icon="play" busy={run.busy} disabled={!at} onClick={() => void run.act(at, payload, binary)}>Dry run</Button>
    </>}>
      <p class="muted">Nothing is published and no action runs.</p>
      <Field label="Topic of the message">{(a) => <input {...a} value={at} spellcheck={false} autocomplete="off" onInput={(e) => setTopic(e.currentTarget.value)} />}</Field>
      {binary ? <Note actions={<Button onClick={() => setBinary(undefined)}>Write one instead</Button>}>The message has {binary.length} bytes that are not text.</Note>
        : <Editor label="Payload" rows={5} value={payload} change={setPayload} />}
      {run.error ? <Problem error={run.error} /> : null}
      <div aria-live="polite" class="stack">{answer && <Answer answer={answer} topic={at} />}</div>
    </Card>
  );
}

function Answer({ answer: a, topic }: { answer: DryRun; topic: string }) {
  const steps = a.steps?.filter((s) => s.depth < 3) ?? [];
  return (
    <>
      {a.error ? <Note tone="bad" title="It could not be evaluated">{a.error}</Note>
        : a.reason === 'topic' ? <Note tone="warn" title="The rule does not see this message">FROM '{a.topicPattern}' does not match <code dir="auto">{visible(topic)}</code>.</Note>
          : a.reason === 'where' ? <Note tone="warn" title="WHERE stops this message">The actions do not run. The parts below say why.</Note>
            : <Note tone="good" title="The actions would get this">{a.undefined ? 'An empty payload: the result is Undefined.' : undefined}</Note>}
      {a.matched && !a.undefined && <pre class="box" tabIndex={0} dir="auto" aria-label="Result">{a.resultBase64 ? a.resultBase64 : visible(pretty(a.result))}</pre>}
      {a.templates && Object.keys(a.templates).length > 0 && <Table label="Templates" columns={['Template', 'Becomes']} rows={Object.entries(a.templates).map(([k, v]) => ({ key: k, cells: [<code>{k}</code>, <code dir="auto">{visible(v)}</code>] }))} />}
      {steps.length > 0 && (
        <details>
          <summary>The value of every part</summary>
          <div class="details"><Table label="Parts" columns={['Part', 'Place', 'Value']} rows={steps.map((s, i) => ({ key: i, cells: [<code>{s.clause ? s.clause + ' ' : ''}{s.expression}</code>, `${s.line}:${s.column}`, <code dir="auto">{visible(s.value ?? 'Undefined')}</code>] }))} /></div>
        </details>
      )}
    </>
  );
}
