import { createServer } from 'node:http';
import { assert, call, look, must, open, options, visit } from '../harness.mjs';

export const checks = {
  async 'write a rule, see the mistake, try it on pasted and live messages, make it, count'() {
    const page = await open();
    await visit(page, '#/rules');
    await page.getByText('No rules yet').waitFor();
    await look(page, 'rules-empty');
    await page.getByRole('link', { name: 'New rule' }).first().click();
    await page.getByLabel('Name', { exact: true }).fill('hot');
    const sql = page.getByRole('textbox', { name: 'SQL' });
    await sql.fill("SELECT temperature\nFRM 'dt/+/readings'");
    await page.getByText('Line 2, column').first().waitFor();
    assert.ok(await page.getByRole('button', { name: 'Make rule' }).isDisabled());
    await look(page, 'rule-mistake');
    await sql.fill("SELECT temperature, topic(2) AS device\nFROM 'dt/+/readings'\nWHERE temperature > 30");
    await page.getByText('It looks at messages to').waitFor();
    await page.getByRole('button', { name: 'Add action', exact: true }).click();
    await page.getByLabel('Topic', { exact: true }).fill('hot/${topic(2)}');

    await page.getByRole('textbox', { name: 'Payload' }).fill('{ "temperature": 20 }');
    await page.getByRole('button', { name: 'Dry run' }).click();
    await page.getByText('WHERE stops this message').waitFor();
    await page.getByRole('textbox', { name: 'Payload' }).fill('{ "temperature": 31.5 }');
    await page.getByRole('button', { name: 'Dry run' }).click();
    await page.getByText('The actions would get this').waitFor();
    assert.match(await page.getByLabel('Result').innerText(), /"device": "kettle-1"/);
    await page.getByText('hot/kettle-1', { exact: true }).waitFor(); // the template
    await page.getByText('The value of every part').click();
    await page.getByRole('region', { name: 'Parts' }).waitFor();
    await look(page, 'rule-dry-run');
    await page.getByLabel('Topic of the message').fill('elsewhere');
    await page.getByRole('button', { name: 'Dry run' }).click();
    await page.getByText('The rule does not see this message').waitFor();

    await page.getByRole('button', { name: 'Take the next live message' }).click();
    await until(page, async () => {
      await must(page, 'POST', '/iotdata/topics/dt/toaster/readings?qos=1', '{"temperature":44}');
      return (await page.getByLabel('Topic of the message').inputValue()) === 'dt/toaster/readings';
    });
    await page.getByText('The actions would get this').waitFor();
    assert.match(await page.getByLabel('Result').innerText(), /"temperature": 44/);

    await page.getByRole('button', { name: 'Make rule' }).click();
    await page.getByRole('heading', { level: 1, name: 'hot' }).waitFor();
    await must(page, 'POST', '/iotdata/topics/dt/toaster/readings?qos=1', '{"temperature":44}');
    await must(page, 'POST', '/iotdata/topics/dt/toaster/readings?qos=1', '{"temperature":4}');
    await page.getByRole('tab', { name: 'Counters' }).click();
    const fact = (name) => page.locator('.facts > div', { hasText: name }).locator('dd');
    await until(page, async () => (await fact('Messages that FROM matched').innerText()) === '2' && (await fact('Actions delivered').innerText()) === '1');
    assert.equal(await fact('stopped by WHERE').innerText(), '1');
    await look(page, 'rule-counters');

    await page.getByRole('tab', { name: 'Statement' }).click();
    await sql.fill("SELECT * FROM 'dt/#'");
    await page.getByText('It looks at messages to').waitFor();
    await page.getByRole('button', { name: 'Save rule' }).click();
    await page.getByText('hot is saved').waitFor();
    assert.equal((await must(page, 'GET', '/iot/rules/hot')).rule.sql, "SELECT * FROM 'dt/#'");
    await page.getByRole('button', { name: 'Disable' }).click();
    await page.getByText('hot is disabled').waitFor();
    await visit(page, '#/rules');
    await page.getByRole('button', { name: 'Enable hot' }).click();
    await page.getByRole('button', { name: 'Disable hot' }).waitFor();
    await look(page, 'rules');
  },

  async 'forms write what the API takes, and JSON the rest'() {
    const page = await open();
    await visit(page, '#/rules?new=1');
    await page.getByLabel('Name', { exact: true }).fill('everywhere');
    const add = async (kind, fields) => {
      await page.getByLabel('Add an action').selectOption(kind);
      await page.getByRole('button', { name: 'Add action', exact: true }).click();
      const card = page.locator('section.card', { has: page.getByRole('heading', { name: /^Action \d/ }) }).last();
      for (const [label, value] of Object.entries(fields)) await card.getByLabel(label, { exact: true }).fill(value);
    };
    await add('sqs', { 'URL of the queue': 'https://sqs.us-east-1.amazonaws.com/000000000000/q' });
    await add('s3', { Bucket: 'berth-readings', Key: '${topic()}/${timestamp()}' });
    await add('dynamoDBv2', { Table: 'readings' });
    await add('lambda', { 'ARN of the function': 'arn:aws:lambda:us-east-1:000000000000:function:f' });
    const asked = []; // who is asked to confirm that it wants messages
    const receiver = createServer((request, response) => {
      let body = '';
      request.on('data', (b) => { body += b; });
      request.on('end', () => { asked.push(body); response.end(); });
    }).listen(0, '127.0.0.1');
    await new Promise((done) => receiver.once('listening', done));
    const url = `http://127.0.0.1:${receiver.address().port}/in`;
    await add('http', { URL: url });
    await page.getByText('not confirmed', { exact: true }).waitFor();
    await page.getByRole('button', { name: 'Ask the URL to confirm' }).click();
    await page.getByText('in progress', { exact: true }).waitFor();
    while (!asked.length) await new Promise((done) => setTimeout(done, 20));
    await page.evaluate((path) => fetch(path), new URL(JSON.parse(asked[0]).enableUrl).href.replace(/^https?:\/\/[^/]+/, ''));
    await page.getByRole('button', { name: 'Look again' }).click();
    await page.getByText('confirmed', { exact: true }).waitFor();
    receiver.close();
    await page.getByLabel('Add an action').selectOption('');
    await page.getByRole('button', { name: 'Add action', exact: true }).click();
    await page.getByRole('textbox', { name: 'Action 6 as JSON' }).fill('{"sns":{"targetArn":"arn:aws:sns:us-east-1:000000000000:t"');
    await page.getByText(/Line 1, column/).waitFor();
    await page.getByRole('textbox', { name: 'Action 6 as JSON' }).fill('{"sns":{"targetArn":"arn:aws:sns:us-east-1:000000000000:t"}}');
    await look(page, 'rule-actions');
    await page.getByRole('button', { name: 'Make rule' }).click();
    await page.getByRole('heading', { level: 1, name: 'everywhere' }).waitFor();
    const { rule } = await must(page, 'GET', '/iot/rules/everywhere');
    assert.deepEqual(rule.actions.map((a) => Object.keys(a)[0]), ['sqs', 's3', 'dynamoDBv2', 'lambda', 'http', 'sns']);
    assert.equal(rule.actions[2].dynamoDBv2.putItem.tableName, 'readings');
    await page.getByRole('button', { name: 'Delete', exact: true }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await page.getByRole('link', { name: 'hot' }).waitFor();
  },

  async 'a dead letter is seen and replayed'() {
    const page = await open();
    // A result that is no object makes no item, so that the delivery fails for good.
    await must(page, 'POST', '/iot/rules/doomed', { sql: "SELECT VALUE 7 FROM 'doom'", awsIotSqlVersion: '2016-03-23', actions: [{ dynamoDBv2: { roleArn: 'arn:aws:iam::000000000000:role/rule', putItem: { tableName: 'none' } } }] });
    await must(page, 'POST', '/iotdata/topics/doom?qos=1', '{}');
    await visit(page, '#/rules/doomed?tab=dead');
    await page.getByRole('button', { name: 'Refresh' }).waitFor();
    await until(page, async () => {
      await page.getByRole('button', { name: 'Refresh' }).click();
      return page.getByRole('button', { name: 'Payload' }).first().isVisible();
    });
    await page.getByText('Last error').waitFor();
    await look(page, 'rule-dead');
    await page.getByRole('button', { name: 'Payload' }).first().click();
    await page.getByRole('dialog').getByLabel('Payload').waitFor();
    await page.getByRole('dialog').getByRole('button', { name: 'Close' }).click();
    await page.getByRole('button', { name: 'Replay all' }).click();
    await page.getByText('on the way again').first().waitFor();
  },

  async 'a viewer looks and tries, and changes nothing'() {
    const page = await open({ credentials: options.viewer });
    await visit(page, '#/rules/hot');
    await page.getByRole('button', { name: 'Dry run' }).click();
    await page.getByText('The actions would get this').waitFor();
    assert.ok(await page.getByRole('button', { name: 'Delete' }).isDisabled());
    assert.equal((await call(page, 'PATCH', '/iot/rules/hot', { sql: "SELECT * FROM 'x'", actions: [] })).status, 403);
    assert.equal((await call(page, 'POST', '/berth/rules/hot/replay')).status, 403);
  },
};

async function until(page, ready) {
  for (let n = 0; n < 100; n++) {
    if (await ready().catch(() => false)) return;
    await page.waitForTimeout(150);
  }
  throw new Error('it did not come to pass');
}
