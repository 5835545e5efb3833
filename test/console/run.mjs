// node run.mjs PAGE OPTIONS runs the checks of pages/PAGE.mjs.
import { run } from './harness.mjs';

const { checks } = await import(`./pages/${process.argv[2]}.mjs`);
await run(checks);
