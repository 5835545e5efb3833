import { useState } from 'preact/hooks';
import { berth, iot, seg } from '../lib/api';
import { getRule, latency, payload, seconds, stats } from '../lib/rules';
import type { DeadLetter, Rule as RuleDocument } from '../lib/rules';
import { go, place, setQuery, to } from '../lib/router';
import { moment, number, prettyText, utf8, visible } from '../lib/text';
import { Badge, Button, Card, Confirm, Dialog, Empty, Fact, Facts, Field, Loading, Note, Page, Problem, TabPanel, Table, Tabs, When, toast, useAction, useLoad } from '../ui/all';
import { RuleForm } from './rule/form';
import { useAgain } from '../ui/again';

type Tab = 'rule' | 'counters' | 'dead';
const back = { href: to(['rules']), text: 'Rules' };
const fresh: RuleDocument = { ruleName: '', sql: "SELECT *\nFROM 'dt/+/readings'", awsIotSqlVersion: '2016-03-23', actions: [] };

export function NewRule() {
  const [name, setName] = useState('');
  const [draft, setDraft] = useState(fresh);
  const [good, setGood] = useState(false);
  const bad = name && !/^\w{1,128}$/.test(name) ? 'Use letters, digits and _ only.' : '';
  const { act, busy, error } = useAction(async () => {
    await iot.post(`/rules/${seg(name)}`, payload(draft));
    toast(`${name} is at work`);
    go(['rules', name]);
  });
  return (
    <Page title="New rule" back={back} lead="Write the statement, try it on a message, choose what happens with the result." actions={<Button kind="primary" changes busy={busy} disabled={!name || !!bad || !good} onClick={() => void act()}>Make rule</Button>}>
      {error ? <Problem error={error} /> : null}
      <Card><Field label="Name" error={bad} hint="It cannot be changed later.">{(a) => <input {...a} value={name} spellcheck={false} autocomplete="off" onInput={(e) => setName(e.currentTarget.value.trim())} />}</Field></Card>
      <RuleForm rule={draft} change={setDraft} checked={setGood} />
    </Page>
  );
}

export default function Rule({ name }: { name: string }) {
  const saved = useLoad(() => getRule(name), [name]);
  const counts = useLoad(async () => (await stats()).get(name), [name]);
  const [draft, setDraft] = useState<RuleDocument | undefined>();
  const [good, setGood] = useState(true);
  const [deleting, setDeleting] = useState(false);
  useAgain(counts.reload);
  const tab = (place.value.query.get('tab') ?? 'rule') as Tab;
  const save = useAction(async () => {
    await iot.patch(`/rules/${seg(name)}`, payload(draft!));
    toast(`${name} is saved`);
    setDraft(undefined);
    saved.reload();
  });
  const toggle = useAction(async () => {
    const disabled = saved.value!.rule.ruleDisabled;
    await iot.post(`/rules/${seg(name)}/${disabled ? 'enable' : 'disable'}`);
    toast(`${name} is ${disabled ? 'enabled' : 'disabled'}`);
    saved.reload();
  });
  if (saved.error) return <Page title={name} back={back}><Problem error={saved.error} retry={saved.reload} /></Page>;
  if (!saved.value) return <Page title={name} back={back}><Loading /></Page>;
  const rule = saved.value.rule;
  const s = counts.value;
  const changed = draft && JSON.stringify(payload(draft)) !== JSON.stringify(payload(rule));
  return (
    <Page title={name} back={back} lead={<span class="inline"><Badge tone={rule.ruleDisabled ? 'none' : 'good'}>{rule.ruleDisabled ? 'disabled' : 'enabled'}</Badge><code>{saved.value.ruleArn}</code></span>} actions={<>
      <Button changes busy={toggle.busy} onClick={() => void toggle.act()}>{rule.ruleDisabled ? 'Enable' : 'Disable'}</Button>
      <Button icon="trash" kind="danger" changes onClick={() => setDeleting(true)}>Delete</Button>
    </>}>
      {toggle.error ? <Problem error={toggle.error} /> : null}
      {s?.lastError && <Note tone="warn" title="Last error"><span dir="auto">{visible(s.lastError)}</span> <span class="muted">{s.lastErrorAt && <When ms={Date.parse(s.lastErrorAt)} />}</span></Note>}
      <Tabs label={`About ${name}`} tabs={[['rule', 'Statement and actions'], ['counters', 'Counters'], ['dead', s?.dead ? `Dead letters (${number(s.dead)})` : 'Dead letters']]} current={tab} select={(k) => setQuery({ tab: k === 'rule' ? undefined : k })} />
      <TabPanel current={tab}>
        {tab === 'rule' && (
          <>
            <RuleForm rule={draft ?? rule} change={setDraft} checked={setGood} />
            {save.error ? <Problem error={save.error} /> : null}
            <div class="actions end">
              {changed && <Button onClick={() => setDraft(undefined)}>Discard</Button>}
              <Button kind="primary" changes busy={save.busy} disabled={!changed || !good} onClick={() => void save.act()}>Save rule</Button>
            </div>
          </>
        )}
        {tab === 'counters' && <Counters name={name} counts={counts.value} />}
        {tab === 'dead' && <DeadLetters name={name} changed={counts.reload} />}
      </TabPanel>
      {deleting && <Confirm title={`Delete ${name}?`} verb="Delete" close={() => setDeleting(false)} run={async () => {
        await iot.del(`/rules/${seg(name)}`);
        toast(`${name} is deleted`);
        go(['rules']);
      }}>Messages pass it by from then on. What it has still to deliver is lost with it.</Confirm>}
    </Page>
  );
}

function Counters({ name, counts: s }: { name: string; counts?: Awaited<ReturnType<typeof stats>> extends Map<string, infer S> ? S : never }) {
  if (!s) return <Card><p class="muted">No message has come to this rule yet. Publish one to its topic, for example in the <a href={to(['client'])}>test client</a>.</p></Card>;
  const l = latency(s);
  return (
    <>
      <Card title="So far">
        <Facts>
          <Fact name="Messages that FROM matched">{number(s.matched)}</Fact><Fact name="Of them, stopped by WHERE">{number(s.whereFalse)}</Fact>
          <Fact name="Actions delivered">{number(s.delivered)}</Fact><Fact name="Failed for good">{number(s.failed)}</Fact>
          <Fact name="Tried again">{number(s.retried)}</Fact><Fact name="Dropped for lack of room">{number(s.dropped)}</Fact>
          <Fact name="Waiting on disk">{number(s.waiting)}</Fact><Fact name="Dead letters">{number(s.dead)}</Fact>
          {l && <Fact name="Latency: half, and 99 of 100, within">{seconds(l.p50)}, {seconds(l.p99)}</Fact>}
        </Facts>
      </Card>
      {s.actions?.length ? <Card tight title="By kind of action"><Table label={`Actions of ${name}`} columns={['Action', 'Delivered', 'Failed', 'Half within', '99 of 100 within']} rows={s.actions.map((a) => ({ key: a.action, cells: [a.action, number(a.delivered), number(a.failed), a.latency.count ? seconds(a.latency.p50Seconds) : '–', a.latency.count ? seconds(a.latency.p99Seconds) : '–'] }))} /></Card> : null}
    </>
  );
}

function shownPayload(base64: string): string {
  const b = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const text = utf8(b);
  return text === undefined ? `${b.length} bytes that are not text, in base64:\n${base64}` : visible(prettyText(text).text);
}

function DeadLetters({ name, changed }: { name: string; changed: () => void }) {
  const { value, error, reload } = useLoad(() => berth.get<{ deadLetters: DeadLetter[] | null }>(`/rules/${seg(name)}/dead-letters`), [name]);
  const [looking, setLooking] = useState<DeadLetter | undefined>();
  const again = useAction(async () => {
    const { replayed } = await berth.post<{ replayed: number }>(`/rules/${seg(name)}/replay`);
    toast(`${number(replayed)} ${replayed === 1 ? 'is' : 'are'} on the way again`);
    reload();
    changed();
  });
  if (error) return <Problem error={error} retry={reload} />;
  if (!value) return <Loading />;
  const list = value.deadLetters ?? [];
  return (
    <Card tight title="Dead letters" actions={<><Button icon="refresh" onClick={reload}>Refresh</Button><Button kind="primary" changes busy={again.busy} disabled={!list.length} onClick={() => void again.act()}>Replay all</Button></>}>
      {again.error ? <Problem error={again.error} /> : null}
      {list.length ? (
        <Table label="Dead letters" columns={['When', 'Action', 'Why', '']} rows={list.map((d) => ({ key: d.id, cells: [moment(Date.parse(d.diedAt || d.createdAt)), d.action, <span dir="auto">{visible(d.error)}</span>, <Button onClick={() => setLooking(d)}>Payload</Button>] }))} />
      ) : <Empty icon="check" title="No dead letters">What an action could not deliver, of messages with QoS 1, is kept here for 14 days. Once the cause is mended, replay delivers it.</Empty>}
      {looking && <Dialog wide title="Payload" close={() => setLooking(undefined)}><pre class="box" tabIndex={0} dir="auto" aria-label="Payload">{shownPayload(looking.payload ?? '')}</pre></Dialog>}
    </Card>
  );
}
