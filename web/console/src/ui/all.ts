export * from './index';
export { List, Table } from './list';
