// One job: how far it is, each thing with the reason, cancelling, trying again.
import { useState } from 'preact/hooks';
import { iot, seg } from '../../lib/api';
import { count, ended, getJob, retryFailed, states, targetOf, thingOf } from '../../lib/jobs';
import type { Execution, Job, State } from '../../lib/jobs';
import { go, place, setQuery, to } from '../../lib/router';
import { number, prettyText, visible } from '../../lib/text';
import { Badge, Button, Card, Confirm, Dialog, Fact, Facts, Loading, Page, Problem, Table, When, toast, useAction, useLoad } from '../../ui/all';
import { useAgain } from '../../ui/again';
import { Progress, tone, words } from '../jobs';

const back = { href: to(['jobs']), text: 'Jobs and firmware' };
const pace = 2000; // milliseconds

export default function JobPage({ id }: { id: string }) {
  const job = useLoad(() => getJob(id), [id]);
  const document = useLoad(() => iot.get<{ document: string }>(`/jobs/${seg(id)}/job-document`), [id]);
  const [asking, setAsking] = useState<'cancel' | 'delete' | undefined>();
  useAgain(job.reload, pace);
  const again = useAction(async () => go(['jobs', await retryFailed(job.value!)]));
  if (job.error && !job.value) return <Page title={id} back={back}><Problem error={job.error} retry={job.reload} /></Page>;
  if (!job.value) return <Page title={id} back={back}><Loading /></Page>;
  const j = job.value;
  const failed = ['numberOfFailedThings', 'numberOfTimedOutThings', 'numberOfRejectedThings'].reduce((n, m) => n + count(j, m), 0);
  const windows = j.schedulingConfig?.maintenanceWindows?.map((w) => `${w.startTime} for ${w.durationInMinutes} minutes`);
  const abort = j.abortConfig?.criteriaList.map((c) => `${c.thresholdPercentage} % ${c.failureType === 'ALL' ? 'failed in any way' : words(c.failureType)}, after ${c.minNumberOfExecutedThings} things`);
  return (
    <Page title={id} back={back} lead={j.description} actions={<>
      <Button icon="refresh" changes busy={again.busy} disabled={!failed} onClick={() => void again.act()}>Retry the failed</Button>
      {!ended(j.status) ? <Button kind="danger" changes onClick={() => setAsking('cancel')}>Cancel job</Button> : <Button kind="danger" icon="trash" changes onClick={() => setAsking('delete')}>Delete</Button>}
    </>}>
      {again.error ? <Problem error={again.error} /> : null}
      <Card title={<span class="inline">Progress <Badge tone={tone(j.status)}>{words(j.status)}</Badge></span>}>
        <div role="status"><Progress job={j} /></div>
        {j.comment && <p>{j.comment}</p>}
        <Facts>
          <Fact name="Targets">{j.targets.map(targetOf).join(', ')}</Fact>
          <Fact name="Made"><When ms={j.createdAt * 1000} /></Fact>
          {j.completedAt && <Fact name="Ended"><When ms={j.completedAt * 1000} /></Fact>}
          <Fact name="Later members of groups">{j.targetSelection === 'CONTINUOUS' ? 'get it too' : 'do not get it'}</Fact>
          <Fact name="Pace">{number(j.jobExecutionsRolloutConfig?.maximumPerMinute ?? 1000)} things a minute</Fact>
          {abort && <Fact name="Given up when">{abort.join('; ')}</Fact>}
          {j.timeoutConfig?.inProgressTimeoutInMinutes && <Fact name="Time for each device">{j.timeoutConfig.inProgressTimeoutInMinutes} minutes</Fact>}
          {j.schedulingConfig?.startTime && <Fact name="Starts (UTC)">{j.schedulingConfig.startTime}</Fact>}
          {windows && <Fact name="Maintenance window (UTC)">{windows.join('; ')}</Fact>}
        </Facts>
      </Card>
      <Executions job={j} reloaded={job.reload} />
      <Card><details><summary>Job document</summary><div class="details"><pre class="box" tabIndex={0} dir="auto" aria-label="Job document">{visible(prettyText(document.value?.document ?? '').text)}</pre></div></details></Card>
      {asking === 'cancel' && <CancelJob job={j} close={() => setAsking(undefined)} done={job.reload} />}
      {asking === 'delete' && <Confirm title={`Delete ${id}?`} verb="Delete" close={() => setAsking(undefined)} run={async () => {
        await iot.del(`/jobs/${seg(id)}`);
        toast(`${id} is being deleted`);
        go(['jobs']);
      }}>What each thing made of it is gone with it.</Confirm>}
    </Page>
  );
}

function CancelJob({ job: j, close, done }: { job: Job; close: () => void; done: () => void }) {
  const [force, setForce] = useState(false);
  return (
    <Confirm title={`Cancel ${j.jobId}?`} verb="Cancel job" close={close} run={async () => {
      await iot.put(`/jobs/${seg(j.jobId)}/cancel`, { reasonCode: 'CONSOLE', comment: 'Canceled in the console' }, { query: { force } });
      toast(`${j.jobId} is canceled`);
      done();
    }}>
      <p>Things that have not begun will not begin. A canceled job cannot go on: make another for the rest.</p>
      <label class="check"><input type="checkbox" checked={force} onChange={(e) => setForce(e.currentTarget.checked)} /> Also where it is in progress ({number(count(j, 'numberOfInProgressThings'))})</label>
    </Confirm>
  );
}

function Executions({ job: j, reloaded }: { job: Job; reloaded: () => void }) {
  const status = place.value.query.get('state') ?? '';
  const [tokens, setTokens] = useState<string[]>([]);
  const [looking, setLooking] = useState<Execution | undefined>();
  const [canceling, setCanceling] = useState<Execution | undefined>();
  const { value, error, reload } = useLoad(() => iot.get<{ executionSummaries: Execution[]; nextToken?: string }>(`/jobs/${seg(j.jobId)}/things`, { maxResults: 50, status, nextToken: tokens[tokens.length - 1] }), [j.jobId, status, tokens]);
  useAgain(reload, pace);
  const open = (s: State) => s === 'QUEUED' || s === 'IN_PROGRESS';
  return (
    <Card tight title="Things" actions={<>
      <select aria-label="State" class="short" value={status} onChange={(e) => {
        setTokens([]);
        setQuery({ state: e.currentTarget.value });
      }}>
        <option value="">in any state</option>
        {states.map(([k, member, text]) => <option key={k} value={k}>{text} ({number(count(j, member))})</option>)}
      </select>
      <Button disabled={!tokens.length} onClick={() => setTokens(tokens.slice(0, -1))}>Back</Button>
      <Button disabled={!value?.nextToken} onClick={() => setTokens([...tokens, value!.nextToken!])}>More</Button>
    </>}>
      {error && !value ? <Problem error={error} retry={reload} /> : !value ? <Loading /> : value.executionSummaries.length ? (
        <Table label="Things" columns={['Thing', 'State', 'Tries', 'Last change', '']} rows={value.executionSummaries.map((x) => {
          const s = x.jobExecutionSummary;
          const name = thingOf(x.thingArn);
          return { key: x.thingArn + s.executionNumber, cells: [
            <a href={to(['things', name])} dir="auto">{name}</a>, <Badge tone={states.find(([k]) => k === s.status)?.[3]}>{words(s.status)}</Badge>, number((s.retryAttempt ?? 0) + 1),
            <When ms={s.lastUpdatedAt && s.lastUpdatedAt * 1000} />,
            <div class="actions"><Button onClick={() => setLooking(x)} aria-label={`Why ${name}`}>Why</Button>{open(s.status) && <Button changes onClick={() => setCanceling(x)} aria-label={`Cancel for ${name}`}>Cancel</Button>}</div>] };
        })} />
      ) : <p class="pad muted">{status ? 'No thing is in this state.' : 'No thing has heard of the job yet: it goes out at the pace chosen, and in its window.'}</p>}
      {looking && <Why job={j.jobId} thing={thingOf(looking.thingArn)} number={looking.jobExecutionSummary.executionNumber} close={() => setLooking(undefined)} />}
      {canceling && <Confirm title={`Cancel for ${thingOf(canceling.thingArn)}?`} verb="Cancel" close={() => setCanceling(undefined)} run={async () => {
        await iot.put(`/things/${seg(thingOf(canceling.thingArn))}/jobs/${seg(j.jobId)}/cancel`, {}, { query: { force: canceling.jobExecutionSummary.status === 'IN_PROGRESS' } });
        toast('Canceled for this thing');
        reload();
        reloaded();
      }}>{canceling.jobExecutionSummary.status === 'IN_PROGRESS' ? 'The device is at it. It may finish, and what it then says is refused.' : 'The thing will not get this job.'}</Confirm>}
    </Card>
  );
}

interface Detail { status: State; forceCanceled?: boolean; statusDetails?: { detailsMap: Record<string, string> }; queuedAt: number; startedAt?: number; lastUpdatedAt: number; versionNumber: number; approximateSecondsBeforeTimedOut?: number }

const meanings: Partial<Record<State, string>> = {
  QUEUED: 'The device has not begun. It hears of the job when it connects and asks for it.', IN_PROGRESS: 'The device has begun and not yet said how it went.', TIMED_OUT: 'The device began and did not finish within the time it had.',
  REJECTED: 'The device refused the job: it could not make sense of the document, or does not want it.', FAILED: 'The device tried and said that it failed.', REMOVED: 'The thing was deleted, or left the group, before it was done.', CANCELED: 'It was canceled.', SUCCEEDED: 'The device said that it is done.',
};

/** Why is what a device said about one execution. */
function Why({ job, thing, number: n, close }: { job: string; thing: string; number: number; close: () => void }) {
  const { value, error, reload } = useLoad(() => iot.get<{ execution: Detail }>(`/things/${seg(thing)}/jobs/${seg(job)}`, { executionNumber: n }), [job, thing, n]);
  const x = value?.execution;
  const said = Object.entries(x?.statusDetails?.detailsMap ?? {});
  return (
    <Dialog wide title={thing} close={close}>
      {error ? <Problem error={error} retry={reload} /> : !x ? <Loading /> : (
        <>
          <p><Badge tone={states.find(([k]) => k === x.status)?.[3]}>{words(x.status)}</Badge> {meanings[x.status]}</p>
          <Facts>
            <Fact name="Queued"><When ms={x.queuedAt * 1000} /></Fact><Fact name="Begun"><When ms={x.startedAt && x.startedAt * 1000} /></Fact><Fact name="Last change"><When ms={x.lastUpdatedAt * 1000} /></Fact>
            {x.approximateSecondsBeforeTimedOut !== undefined && <Fact name="Time left">{number(x.approximateSecondsBeforeTimedOut)} seconds</Fact>}
          </Facts>
          <h3>What the device said</h3>
          {said.length ? <Table label="Status details" columns={['Detail', 'Value']} rows={said.map(([k, v]) => ({ key: k, cells: [<code dir="auto">{visible(k)}</code>, <span dir="auto">{visible(v)}</span>] }))} /> : <p class="muted">Nothing beyond the state. A device gives reasons as statusDetails when it updates the execution.</p>}
          <p><a href={to(['things', thing], { tab: 'history' })}>Its connections and denials</a></p>
        </>
      )}
    </Dialog>
  );
}
