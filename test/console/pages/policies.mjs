import { assert, look, must, open, visit } from '../harness.mjs';

export const checks = {
  async 'make, check, save versions, go back, see who uses it, ask, delete'() {
    const page = await open();
    await visit(page, '#/policies');
    await page.getByText('No policies yet').waitFor();
    await look(page, 'policies-empty');
    await page.getByRole('button', { name: 'New policy' }).first().click();
    await page.getByLabel('Name', { exact: true }).fill('kettles');
    await look(page, 'policy-new');
    await page.getByRole('button', { name: 'Make policy' }).click();
    await page.getByRole('heading', { level: 1, name: 'kettles' }).waitFor();
    const editor = page.getByRole('textbox', { name: 'Document' });
    const least = await editor.inputValue();
    assert.match(least, /iot:Connection\.Thing\.ThingName/);

    await editor.fill('{"Version":"2012-10-17","Statement":[{"Effect":"Allow",}]}');
    await page.getByText(/Line 1, column/).waitFor();
    assert.ok(await page.getByRole('button', { name: 'Save as new version' }).isDisabled());
    await editor.fill('{\n  "Version": "2012-10-17",\n  "Statement": [{ "Effect": "Allow", "Action": "iot:*", "Resource": "*" }]\n}');
    await page.getByText('One stolen device is the whole fleet').waitFor();
    await look(page, 'policy-warning');
    await page.getByRole('button', { name: 'Save as new version' }).click();
    await page.getByText('Version 2 holds now').first().waitFor();
    await page.getByRole('button', { name: 'Use the least-privilege document' }).click();
    assert.equal(await editor.inputValue(), least);
    await page.getByRole('button', { name: 'Save as new version' }).click();
    await page.getByText('Version 3 holds now').first().waitFor();
    await page.getByRole('tab', { name: 'Versions' }).click();
    await page.getByRole('row', { name: /^2/ }).getByRole('button', { name: 'Compare' }).click();
    await page.locator('.diff .added').first().waitFor();
    await look(page, 'policy-versions');
    await page.getByRole('row', { name: /^2/ }).getByRole('button', { name: 'Delete' }).click();
    await page.getByRole('row', { name: /^2/ }).waitFor({ state: 'detached' });

    await must(page, 'POST', '/iot/things/kettle-1', {});
    const { certificateArn } = await must(page, 'POST', '/iot/keys-and-certificate?setAsActive=true');
    await must(page, 'PUT', '/iot/target-policies/kettles', { target: certificateArn });
    await must(page, 'PUT', '/iot/things/kettle-1/principals', undefined, { 'x-amzn-principal': certificateArn });
    await page.getByRole('tab', { name: 'Used by' }).click();
    await page.getByRole('link', { name: 'kettle-1' }).waitFor();
    await look(page, 'policy-targets');

    await page.getByRole('tab', { name: 'Document' }).click();
    await page.getByLabel('Thing', { exact: true }).fill('kettle-1');
    await page.getByLabel('Topic', { exact: true }).fill('kettle-1/hello');
    await page.getByRole('button', { name: 'Ask' }).click();
    await page.getByText('Yes, it is allowed').waitFor();
    await page.getByText('Publish', { exact: true }).last().waitFor(); // the deciding statement
    await page.getByLabel('Topic', { exact: true }).fill('toaster/hello');
    await page.getByRole('button', { name: 'Ask' }).click();
    await page.getByText('No, nothing allows it').waitFor();
    await look(page, 'policy-tester');

    await page.getByRole('button', { name: 'Delete' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await page.getByRole('alert').getByText('It is attached').waitFor();
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.getByRole('tab', { name: 'Used by' }).click();
    await page.getByRole('button', { name: 'Detach' }).click();
    await page.getByText('Nothing uses this policy').waitFor();
    await page.getByRole('button', { name: 'Delete' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await page.getByText('No policies yet').waitFor();
  },

  async 'the audit log tells who changed what, before and after'() {
    const page = await open();
    await visit(page, '#/activity');
    await page.getByRole('row', { name: /CreatePolicyVersion/ }).first().waitFor();
    await look(page, 'activity');
    await page.getByRole('row', { name: /DeletePolicy / }).first().getByRole('button', { name: 'Details' }).click();
    await page.getByRole('dialog').getByText('Before').waitFor();
    await look(page, 'activity-details');
    await page.getByRole('dialog').getByRole('button', { name: 'Close' }).click();
    await page.getByRole('tab', { name: 'Denials' }).click();
    await page.getByRole('heading', { name: 'Denials' }).waitFor();
    await page.getByRole('tab', { name: 'Connections' }).click();
    await look(page, 'activity-connections');
  },
};
