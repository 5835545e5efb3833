import { iot, seg } from '../../lib/api';
import { Badge, Card, Empty, Loading, Problem, Table, When, useLoad } from '../../ui/all';
import type { Tone } from '../../ui';

interface Execution {
  jobId: string;
  jobExecutionSummary: { status: string; queuedAt?: number; startedAt?: number; lastUpdatedAt?: number; executionNumber?: number; retryAttempt?: number };
}

const tones: Record<string, Tone> = { SUCCEEDED: 'good', FAILED: 'bad', TIMED_OUT: 'bad', REJECTED: 'bad', IN_PROGRESS: 'info', QUEUED: 'none', CANCELED: 'warn', REMOVED: 'warn' };

export function Jobs({ thing }: { thing: string }) {
  const { value, error, reload } = useLoad(() => iot.get<{ executionSummaries: Execution[] }>(`/things/${seg(thing)}/jobs`, { maxResults: 100 }), [thing]);
  if (error) return <Problem error={error} retry={reload} />;
  if (!value) return <Loading />;
  const ms = (s?: number) => (s ? s * 1000 : undefined);
  return (
    <Card tight title="Job executions">
      {value.executionSummaries.length ? (
        <Table label="Job executions" columns={['Job', 'State', 'Queued', 'Started', 'Last change']} rows={value.executionSummaries.map((x) => ({
          key: x.jobId + x.jobExecutionSummary.executionNumber,
          cells: [<code dir="auto">{x.jobId}</code>, <Badge tone={tones[x.jobExecutionSummary.status]}>{x.jobExecutionSummary.status.toLowerCase().replace('_', ' ')}</Badge>,
            <When ms={ms(x.jobExecutionSummary.queuedAt)} />, <When ms={ms(x.jobExecutionSummary.startedAt)} />, <When ms={ms(x.jobExecutionSummary.lastUpdatedAt)} />],
        }))} />
      ) : <Empty icon="jobs" title="No jobs for this thing">A job tells devices to do something, such as an update, and follows each of them until it is done: <code>berth job create --thing {thing}</code>, or <code>berth ota create</code>.</Empty>}
    </Card>
  );
}
