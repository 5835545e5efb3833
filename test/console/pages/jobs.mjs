import { assert, call, look, must, open, options, visit } from '../harness.mjs';

export const checks = {
  async 'roll firmware out, follow it, see why it failed, try again, cancel'() {
    const page = await open();
    await visit(page, '#/jobs');
    await page.getByText('No jobs yet').waitFor();
    await look(page, 'jobs-empty');
    const things = ['lamp-1', 'lamp-2', 'lamp-3'];
    for (const t of things) await must(page, 'POST', `/iot/things/${t}`, {});
    await must(page, 'POST', '/iot/thing-groups/lamps', {});
    for (const t of things) await must(page, 'PUT', '/iot/thing-groups/addThingToThingGroup', { thingGroupName: 'lamps', thingName: t });
    await page.getByRole('link', { name: 'Roll out firmware' }).first().click();
    await page.getByLabel('File', { exact: true }).setInputFiles({ name: 'lamp.bin', mimeType: 'application/octet-stream', buffer: Buffer.alloc(3 << 20, 7) });
    await page.getByLabel('Name of the update').fill('lamps-2');
    await page.getByRole('button', { name: 'Make a signer' }).click();
    await page.getByLabel('Signed by').locator('option', { hasText: 'firmware' }).waitFor({ state: 'attached' });
    await page.getByText('The signer is made').waitFor();
    await page.getByLabel('lamps', { exact: true }).check();
    await page.getByLabel('Things a minute').fill('100');
    await look(page, 'jobs-wizard');
    await page.getByRole('button', { name: 'Roll out' }).click();
    await page.getByRole('heading', { level: 1, name: 'AFR_OTA-lamps-2' }).waitFor();
    const { document } = await must(page, 'GET', '/iot/jobs/AFR_OTA-lamps-2/job-document');
    assert.match(document, /"sig-sha256-ecdsa":"/);
    const { job } = await must(page, 'GET', '/iot/jobs/AFR_OTA-lamps-2');
    assert.equal(job.jobExecutionsRolloutConfig.maximumPerMinute, 100);
    assert.equal(job.abortConfig.criteriaList[0].thresholdPercentage, 20);
    assert.equal(job.timeoutConfig.inProgressTimeoutInMinutes, 60);
    await page.getByRole('row', { name: /lamp-1 queued/ }).waitFor();

    // The devices, by the jobs data plane.
    const device = async (thing, status, statusDetails) => {
      await must(page, 'PUT', `/iot-jobs-data/things/${thing}/jobs/$next`, {});
      await must(page, 'POST', `/iot-jobs-data/things/${thing}/jobs/AFR_OTA-lamps-2`, { status, statusDetails });
    };
    await device('lamp-1', 'SUCCEEDED', {});
    await device('lamp-2', 'FAILED', { reason: 'signature check failed', self_test: 'no' });
    await page.getByText('1 succeeded, 1 queued, 1 failed').waitFor(); // by itself
    await page.getByRole('row', { name: /lamp-2 failed/ }).waitFor();
    await look(page, 'job');
    await page.getByLabel('State', { exact: true }).selectOption('FAILED');
    await page.getByRole('row', { name: /lamp-3/ }).waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Why lamp-2' }).click();
    await page.getByText('signature check failed').waitFor();
    await look(page, 'job-why');
    await page.getByRole('dialog').getByRole('button', { name: 'Close' }).click();
    await page.getByLabel('State', { exact: true }).selectOption('');
    await page.getByRole('button', { name: 'Cancel for lamp-3' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel', exact: true }).last().click();
    await page.getByText('1 succeeded, 1 failed, 1 canceled').waitFor();
    await page.getByRole('button', { name: 'Retry the failed' }).click();
    await page.getByRole('heading', { level: 1, name: /AFR_OTA-lamps-2-retry/ }).waitFor();
    await page.getByRole('row', { name: /lamp-2 queued/ }).waitFor();
    assert.equal(await page.getByRole('row', { name: /lamp-1/ }).count(), 0);
    await page.getByRole('button', { name: 'Cancel job' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel job' }).click();
    await page.getByText('1 canceled', { exact: true }).waitFor();
    await visit(page, '#/jobs');
    await page.getByRole('link', { name: 'AFR_OTA-lamps-2', exact: true }).waitFor();
    await look(page, 'jobs');
  },

  async 'retry of more than a job has targets'() {
    const page = await open();
    await visit(page, '#/jobs');
    const { thingGroupArn } = await must(page, 'POST', '/iot/thing-groups/many', {});
    await must(page, 'PUT', '/iot/jobs/many', { targets: [thingGroupArn], targetSelection: 'CONTINUOUS', document: '{"do":"it"}' });
    const names = Array.from({ length: 101 }, (_, n) => `many-${n}`);
    for (const name of names) {
      await must(page, 'POST', `/iot/things/${name}`, {});
      await must(page, 'PUT', '/iot/thing-groups/addThingToThingGroup', { thingGroupName: 'many', thingName: name });
    }
    await visit(page, '#/jobs/many');
    await page.getByText('101 queued').waitFor();
    for (const name of names) {
      await must(page, 'PUT', `/iot-jobs-data/things/${name}/jobs/$next`, {});
      await must(page, 'POST', `/iot-jobs-data/things/${name}/jobs/many`, { status: 'FAILED' });
    }
    await page.getByText('101 failed').waitFor();
    await page.getByRole('button', { name: 'Retry the failed' }).click();
    await page.getByRole('heading', { level: 1, name: /^many-retry/ }).waitFor();
    await page.getByText('101 queued').waitFor();
  },

  async 'a maintenance window, over HTTPS'() {
    const page = await open();
    await visit(page, '#/jobs?new=1');
    await page.getByLabel('File', { exact: true }).setInputFiles({ name: 'lamp.bin', mimeType: 'application/octet-stream', buffer: Buffer.alloc(70_000, 9) });
    await page.getByLabel('Name of the update').fill('nightly');
    await page.getByLabel('Signed by').selectOption('firmware');
    await page.getByLabel('Protocol').selectOption('HTTP');
    await page.getByLabel('lamps', { exact: true }).check();
    await page.getByLabel('Begin').selectOption('window');
    await page.getByLabel('Days').selectOption('SUN');
    await look(page, 'jobs-wizard-window');
    await page.getByRole('button', { name: 'Roll out' }).click();
    await page.getByRole('heading', { level: 1, name: 'AFR_OTA-nightly' }).waitFor();
    const { job } = await must(page, 'GET', '/iot/jobs/AFR_OTA-nightly');
    assert.deepEqual(job.schedulingConfig.maintenanceWindows, [{ startTime: 'cron(0 2 ? * SUN *)', durationInMinutes: 120 }]);
    assert.equal(job.targetSelection, 'CONTINUOUS');
    const { document } = await must(page, 'GET', '/iot/jobs/AFR_OTA-nightly/job-document');
    assert.match(document, /presigned-url:berth:\/\/lamp\.bin\?versionId=2/);
    assert.match(document, /"sig-sha256-ecdsa":"/);
  },

  async 'at a time'() {
    const page = await open();
    await visit(page, '#/jobs?new=1');
    await page.getByLabel('File', { exact: true }).setInputFiles({ name: 'lamp.bin', mimeType: 'application/octet-stream', buffer: Buffer.alloc(70_000, 9) });
    await page.getByLabel('Name of the update').fill('later');
    await page.getByLabel('lamps', { exact: true }).check();
    await page.getByLabel('Begin').selectOption('at');
    const at = new Date(Date.now() + 3 * 3600e3);
    await page.getByLabel('Time', { exact: true }).fill(new Date(at - at.getTimezoneOffset() * 60e3).toISOString().slice(0, 16));
    await page.getByRole('button', { name: 'Roll out' }).click();
    await page.getByRole('heading', { level: 1, name: 'AFR_OTA-later' }).waitFor();
    const { job } = await must(page, 'GET', '/iot/jobs/AFR_OTA-later');
    assert.equal(job.status, 'SCHEDULED');
    assert.equal(Date.parse(job.schedulingConfig.startTime), Math.floor(at / 60e3) * 60e3);
  },

  async 'a viewer follows and changes nothing'() {
    const page = await open({ credentials: options.viewer });
    await visit(page, '#/jobs/AFR_OTA-lamps-2');
    await page.getByText('1 succeeded, 1 failed, 1 canceled').waitFor();
    assert.ok(await page.getByRole('button', { name: 'Retry the failed' }).isDisabled());
    assert.equal((await call(page, 'PUT', '/iot/jobs/AFR_OTA-nightly/cancel', {})).status, 403);
    assert.equal((await call(page, 'PUT', '/berth/files/x', 'x', { 'X-Amz-Content-Sha256': '0'.repeat(64) })).status, 403);
  },
};
