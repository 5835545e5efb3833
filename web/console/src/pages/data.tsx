import { useState } from 'preact/hooks';
import { berth } from '../lib/api';
import type { TableSummary } from '../lib/tables';
import { to } from '../lib/router';
import { bytes, number } from '../lib/text';
import { Card, Empty, Icon, Loading, Page, Problem, Table, When, useLoad } from '../ui/all';
import Readings from './data/readings';
import type { PageProps } from './table';

export default function DataPage({ path }: PageProps) {
  return path.length ? <Readings key={path[0]} name={path[0]} /> : <TableList />;
}

function TableList() {
  const { value, error, reload } = useLoad(() => berth.get<{ tables: TableSummary[] }>('/tables'), []);
  const [text, setText] = useState('');
  const shown = value?.tables.filter((t) => t.name.toLowerCase().includes(text.toLowerCase()));
  return (
    <Page title="Data" lead="Readings that rules keep in tables of this server: to plot, to follow as they come, to take along.">
      <Card tight>
        {error ? <Problem error={error} retry={reload} /> : !value ? <Loading /> : !value.tables.length ? (
          <Empty icon="chart" title="No readings yet" actions={<a class="button primary" href={to(['rules'], { new: '1' })}><Icon name="plus" size={18} /><span>New rule</span></a>}>
            A rule with the action <em>Keep in a table</em> makes each member of its result a measure: for messages such as <code>{'{"temperature": 21.5}'}</code> on <code>dt/kettle-1/readings</code>, the statement <code>SELECT * FROM 'dt/+/readings'</code> and thing <code>{'${topic(2)}'}</code>. The table appears here with the first message; nothing has to be declared.
          </Empty>
        ) : (
          <>
            <div class="toolbar">
              <div class="search grow"><Icon name="search" /><input type="search" data-search aria-label="Filter tables by name" placeholder="Filter by name" value={text} onInput={(e) => setText(e.currentTarget.value)} /><kbd aria-hidden="true">/</kbd></div>
            </div>
            <Table label="Tables" columns={['Table', 'Rows', 'Things', 'Measures', 'Size', 'Latest']} rows={shown!.map((t) => ({ key: t.name, cells: [
              <a href={to(['data', t.name])} dir="auto">{t.name}</a>, number(t.rows), number(t.things), number(t.measures), bytes(t.bytes), <When ms={t.last} />] }))} />
          </>
        )}
      </Card>
    </Page>
  );
}
