import { useState } from 'preact/hooks';
import { iot, seg } from '../lib/api';
import { latency, listRules, seconds, stats } from '../lib/rules';
import { place, to } from '../lib/router';
import { number } from '../lib/text';
import { Badge, Button, Card, Empty, Icon, Loading, Page, Problem, Table, toast, useAction, useLoad } from '../ui/all';
import { useAgain } from '../ui/again';
import Rule, { NewRule } from './rule';
import type { PageProps } from './table';

export default function RulesPage({ path }: PageProps) {
  return path.length ? <Rule name={path[0]} /> : place.value.query.get('new') ? <NewRule /> : <RuleList />;
}

function RuleList() {
  const rules = useLoad(listRules, []);
  const counts = useLoad(stats, []);
  const [text, setText] = useState('');
  useAgain(counts.reload);
  const toggle = useAction(async (name: string, disabled: boolean) => {
    await iot.post(`/rules/${seg(name)}/${disabled ? 'enable' : 'disable'}`);
    toast(`${name} is ${disabled ? 'enabled' : 'disabled'}`);
    rules.reload();
  });
  if (rules.error) return <Page title="Rules"><Problem error={rules.error} retry={rules.reload} /></Page>;
  const add = <a class="button primary" href={to(['rules'], { new: '1' })}><Icon name="plus" size={18} /><span>New rule</span></a>;
  const shown = rules.value?.filter((r) => (r.ruleName + ' ' + (r.topicPattern ?? '')).toLowerCase().includes(text.toLowerCase()));
  return (
    <Page title="Rules" lead="What becomes of messages: a statement picks them and shapes a result, and actions carry it on." actions={add}>
      <Card tight>
        {!rules.value ? <Loading /> : !rules.value.length ? (
          <Empty icon="rules" title="No rules yet" actions={add}>
            A rule is a statement such as <code>SELECT temperature FROM 'dt/#' WHERE temperature &gt; 30</code> and up to ten actions: republish, keep readings in a table, call a URL, fill a queue or a database. You can try a statement on a message before anything is saved.
          </Empty>
        ) : (
          <>
            <div class="toolbar">
              <div class="search grow"><Icon name="search" /><input type="search" data-search aria-label="Filter rules by name or topic" placeholder="Filter by name or topic" value={text} onInput={(e) => setText(e.currentTarget.value)} /><kbd aria-hidden="true">/</kbd></div>
            </div>
            <Table label="Rules" columns={['Rule', 'From', 'State', 'Matched', 'Delivered', 'Failed', 'Latency', '']} rows={shown!.slice(0, 500).map((r) => {
              const s = counts.value?.get(r.ruleName);
              const l = latency(s);
              return { key: r.ruleName, cells: [
                <a href={to(['rules', r.ruleName])}>{r.ruleName}</a>, <code>{r.topicPattern ?? ''}</code>,
                <span class="inline"><Badge tone={r.ruleDisabled ? 'none' : 'good'}>{r.ruleDisabled ? 'disabled' : 'enabled'}</Badge>{s?.dead ? <Badge tone="bad">{number(s.dead)} dead</Badge> : null}</span>,
                number(s?.matched ?? 0), number(s?.delivered ?? 0), <span title={s?.lastError}>{s?.failed ? <Badge tone="bad">{number(s.failed)}</Badge> : '0'}</span>,
                l ? <span title={`99 of 100 within ${seconds(l.p99)}`}>{seconds(l.p50)}</span> : <span class="muted">–</span>,
                <Button changes busy={toggle.busy} onClick={() => void toggle.act(r.ruleName, r.ruleDisabled)} aria-label={`${r.ruleDisabled ? 'Enable' : 'Disable'} ${r.ruleName}`}>{r.ruleDisabled ? 'Enable' : 'Disable'}</Button>,
              ] };
            })} />
          </>
        )}
      </Card>
      {toggle.error ? <Problem error={toggle.error} /> : null}
      {counts.error ? <Problem error={counts.error} retry={counts.reload} /> : null}
    </Page>
  );
}
