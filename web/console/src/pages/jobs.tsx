import { count, listJobs, states } from '../lib/jobs';
import type { Job } from '../lib/jobs';
import { place, to } from '../lib/router';
import { number } from '../lib/text';
import { Badge, Card, Empty, Icon, Loading, Page, Problem, Table, When, useLoad } from '../ui/all';
import JobPage from './jobs/job';
import { Wizard } from './jobs/wizard';
import { useAgain } from '../ui/again';
import type { PageProps } from './table';

export default function JobsPage({ path }: PageProps) {
  return path.length ? <JobPage key={path[0]} id={path[0]} /> : place.value.query.get('new') ? <Wizard /> : <JobList />;
}

export const tone = (status: string) => ({ IN_PROGRESS: 'info', COMPLETED: 'good', CANCELED: 'warn', SCHEDULED: 'none' } as const)[status] ?? 'none';
export const words = (status: string) => status.toLowerCase().replace(/_/g, ' ');

/** Progress is how many things are in which state, as a bar and in words. */
export function Progress({ job }: { job: Job }) {
  const parts = states.map(([, member, text, tone]) => ({ n: count(job, member), text, tone })).filter((p) => p.n > 0);
  return (
    <div class="job-progress">
      <svg class="bar-states" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
        {parts.map((p, i) => {
          const total = parts.reduce((a, b) => a + b.n, 0);
          const before = parts.slice(0, i).reduce((a, b) => a + b.n, 0);
          return <rect key={p.text} class={'state ' + p.tone} x={(100 * before) / total} width={(100 * p.n) / total} y="0" height="8" />;
        })}
      </svg>
      <span class="hint">{parts.length ? parts.map((p) => `${number(p.n)} ${p.text}`).join(', ') : 'no thing yet'}</span>
    </div>
  );
}

function JobList() {
  const { value, error, reload } = useLoad(listJobs, []);
  useAgain(reload, 3000);
  const add = <a class="button primary" href={to(['jobs'], { new: '1' })}><Icon name="plus" size={18} /><span>Roll out firmware</span></a>;
  return (
    <Page title="Jobs and firmware" lead="What devices were told to do, such as an update, and how far each of them is." actions={add}>
      <Card tight>
        {error && !value ? <Problem error={error} retry={reload} /> : !value ? <Loading /> : !value.jobs.length ? (
          <Empty icon="jobs" title="No jobs yet" actions={add}>
            A roll-out sends a firmware file to things and groups: signed, at the pace that you choose, and given up by itself when too many fail. Devices with an OTA library for AWS IoT understand it as it is. Other jobs come from <code>berth job create</code> and show up here too.
          </Empty>
        ) : (
          <>
            <Table label="Jobs" columns={['Job', 'State', 'Progress', 'Made']} rows={value.jobs.map((j) => ({ key: j.jobId, cells: [
              <a href={to(['jobs', j.jobId])} dir="auto">{j.jobId}</a>, <Badge tone={tone(j.status)}>{words(j.status)}</Badge>, <Progress job={j} />, <When ms={j.createdAt * 1000} />] }))} />
            {value.more && <p class="pad hint">The 50 newest. <code>berth job list</code> shows all.</p>}
          </>
        )}
      </Card>
    </Page>
  );
}
