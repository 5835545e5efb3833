import { createHash } from 'node:crypto';
import { assert, call, look, must, open, options, saved, visit } from '../harness.mjs';

/** put inserts readings. */
async function put(page, table, rows) {
  const body = JSON.stringify({ rows });
  const r = await call(page, 'POST', `/berth/tables/${table}/rows`, body, { 'Content-Type': 'application/json', 'x-amz-content-sha256': createHash('sha256').update(body).digest('hex') });
  assert.equal(r.status, 200, JSON.stringify(r.body));
}

export const checks = {
  async 'plot several things, zoom, follow, look at rows, export, delete'() {
    const page = await open();
    await visit(page, '#/data');
    await page.getByText('No readings yet').waitFor();
    await look(page, 'data-empty');
    const now = Date.now(), rows = [];
    for (let i = 0; i < 720; i++) {
      for (const [n, thing] of ['kitchen', 'cellar', 'attic'].entries()) {
        rows.push({ time: now - (720 - i) * 5000, thing, measures: { temperature: 15 + 4 * n + 2 * Math.sin(i / 40 + n), humidity: 50 + 10 * Math.cos(i / 60), state: i % 2 ? 'on' : 'off' } });
      }
    }
    await put(page, 'weather', rows);
    await visit(page, '#/start');
    await visit(page, '#/data');
    await page.getByRole('link', { name: 'weather' }).waitFor();
    await look(page, 'data');
    await page.getByRole('link', { name: 'weather' }).click();
    const plot = page.getByRole('img', { name: /temperature of weather|humidity of weather/ });
    await plot.waitFor();
    await page.getByRole('checkbox', { name: 'humidity' }).uncheck().catch(() => {});
    await page.getByRole('checkbox', { name: 'temperature' }).check();
    await page.getByRole('img', { name: /^temperature of weather: .*attic from 2/ }).waitFor();
    assert.equal(await page.getByRole('list', { name: /Lines of/ }).getByRole('listitem').count(), 3);
    await page.locator('.u-over').waitFor();
    await look(page, 'data-plot');
    let box = null; // none while it is drawn again, in other colours
    while (!box) {
      await page.locator('.u-over').waitFor();
      box = await page.locator('.u-over').boundingBox();
    }
    await page.mouse.move(box.x + box.width * 0.4, box.y + 40);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.6, box.y + 60, { steps: 5 });
    await page.mouse.up();
    await page.getByRole('button', { name: 'Whole range' }).waitFor();
    await page.getByText(/One point is (1|5) seconds?/).waitFor(); // closer, finer
    await page.getByRole('button', { name: 'Whole range' }).click();
    await page.getByRole('button', { name: 'Week' }).click();
    await page.getByText(/One point is (30 minutes|15 minutes|1 hour)/).waitFor();
    await page.getByRole('checkbox', { name: 'cellar' }).uncheck();
    await page.getByRole('checkbox', { name: 'humidity' }).check();
    await page.getByText('kitchen humidity', { exact: true }).waitFor();

    await page.getByRole('tab', { name: 'Live' }).click();
    await page.getByRole('region', { name: 'Latest readings' }).waitFor();
    await put(page, 'weather', [{ thing: 'kitchen', measures: { temperature: 99.5 } }]);
    await page.getByRole('row', { name: /kitchen temperature 99.5/ }).waitFor();
    await look(page, 'data-live');
    await page.getByRole('tab', { name: 'Rows' }).click();
    await page.getByRole('row', { name: /kitchen .*99.5/ }).waitFor();
    await page.getByRole('button', { name: 'Older' }).click();
    await page.getByRole('button', { name: 'Newer' }).click();
    await look(page, 'data-rows');
    await page.getByRole('tab', { name: 'Export' }).click();
    await look(page, 'data-export');
    const csv = (await saved(page, () => page.getByRole('button', { name: 'CSV', exact: true }).click())).toString();
    assert.equal(csv.trim().split('\n').length, 720 * 3 + 2);
    await page.getByLabel('Averages').selectOption('1h');
    await page.getByRole('checkbox', { name: 'attic' }).check();
    const lines = (await saved(page, () => page.getByRole('button', { name: 'NDJSON', exact: true }).click())).toString().trim().split('\n');
    assert.ok(lines.length <= 3 && lines.every((l) => JSON.parse(l).thing === 'attic'), lines.join('\n').slice(0, 500));
    const parquet = await call(page, 'GET', '/berth/tables/weather/export?format=parquet');
    if (parquet.status === 200) {
      const b = await saved(page, () => page.getByRole('button', { name: 'Parquet', exact: true }).click());
      assert.equal(b.subarray(0, 4).toString(), 'PAR1');
    }
    await page.getByRole('button', { name: 'Retention' }).click();
    await page.getByLabel('Keep readings').selectOption({ label: '7 days' });
    await look(page, 'data-retention');
    await page.getByRole('button', { name: 'Change', exact: true }).click();
    await page.getByText('Kept for 7 days').waitFor();
  },

  async 'a viewer sees and takes along, and deletes nothing; hostile names are text'() {
    const admin = await open();
    await put(admin, 'odd', [{ thing: '<img src=x onerror=alert(1)>', measures: { '<script>alert(2)</script>': 1 } }]);
    const page = await open({ credentials: options.viewer });
    await visit(page, '#/data/odd');
    await page.getByText('<img src=x onerror=alert(1)>').first().waitFor();
    assert.ok(await page.getByRole('button', { name: 'Delete' }).isDisabled());
    assert.equal((await call(page, 'DELETE', '/berth/tables/odd')).status, 403);
    await visit(admin, '#/data/odd');
    await admin.getByRole('button', { name: 'Delete' }).click();
    await admin.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await admin.getByRole('link', { name: 'weather' }).waitFor();
    assert.equal((await must(admin, 'GET', '/berth/tables')).tables.length, 1);
  },
};
