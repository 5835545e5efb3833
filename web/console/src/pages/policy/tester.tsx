import { useState } from 'preact/hooks';
import { berth } from '../../lib/api';
import { Badge, Button, Card, Fact, Facts, Field, Note, Problem, useAction } from '../../ui/all';

interface Answer {
  allowed: boolean;
  explicit: boolean;
  reason: string;
  policy?: string;
  statement?: string;
  nearMisses?: string[];
  missingContextValues?: string[];
  certificateId: string;
  clientId: string;
  action: string;
  resource: string;
}

const actions: [string, string][] = [['iot:Connect', 'connect'], ['iot:Publish', 'publish to'], ['iot:Subscribe', 'subscribe to'], ['iot:Receive', 'receive from'], ['iot:RetainPublish', 'publish retained to']];

/** Tester asks the server what it would say to a thing's device. */
export function Tester() {
  const [thing, setThing] = useState('');
  const [action, setAction] = useState('iot:Publish');
  const [topic, setTopic] = useState('');
  const [answer, setAnswer] = useState<Answer | undefined>();
  const { act, busy, error } = useAction(async () => {
    setAnswer(undefined);
    setAnswer(await berth.post<Answer>('/explain', { thingName: thing, action, resource: topic }));
  });
  const connect = action === 'iot:Connect';
  return (
    <Card title="May it?">
      <form class="stack" onSubmit={(e) => { e.preventDefault(); void act(); }}>
        <div class="question">
          <Field label="Thing">{(a) => <input {...a} value={thing} required placeholder="kettle-1" spellcheck={false} autocomplete="off" onInput={(e) => setThing(e.currentTarget.value.trim())} />}</Field>
          <Field label="Action">{(a) => <select {...a} value={action} onChange={(e) => setAction(e.currentTarget.value)}>{actions.map(([k, t]) => <option key={k} value={k}>{t}</option>)}</select>}</Field>
          <Field label={connect ? 'Client identifier' : action === 'iot:Subscribe' ? 'Topic filter' : 'Topic'}>{(a) => <input {...a} value={topic} required={!connect} placeholder={connect ? thing || 'kettle-1' : `${thing || 'kettle-1'}/hello`} spellcheck={false} autocomplete="off" onInput={(e) => setTopic(e.currentTarget.value)} />}</Field>
          <Button kind="primary" type="submit" busy={busy} class="under-label" disabled={!thing || (!connect && !topic)}>Ask</Button>
        </div>
        {error ? <Problem error={error} /> : null}
        <div aria-live="polite">
          {answer && (
            <Note tone={answer.allowed ? 'good' : 'bad'} title={answer.allowed ? 'Yes, it is allowed' : answer.explicit ? 'No, it is forbidden' : 'No, nothing allows it'}>
              <div class="stack">
                <span dir="auto">{answer.reason}</span>
                <Facts>
                  {answer.policy && <Fact name="Decided by">policy <a href={`#/policies/${encodeURIComponent(answer.policy)}`}>{answer.policy}</a>, statement <Badge tone="info">{answer.statement}</Badge></Fact>}
                  <Fact name="Resource"><code>{answer.resource}</code></Fact>
                  <Fact name="Certificate"><code title={answer.certificateId}>{answer.certificateId.slice(0, 12)}…</code></Fact>
                </Facts>
                {answer.nearMisses?.length ? <div><strong>What came close</strong><ul class="bullets">{answer.nearMisses.map((n) => <li key={n} dir="auto">{n}</li>)}</ul></div> : null}
                {answer.missingContextValues?.length ? <span>Values that were not known: {answer.missingContextValues.join(', ')}</span> : null}
              </div>
            </Note>
          )}
        </div>
      </form>
    </Card>
  );
}
