// Every page of the console, in the order of the navigation. A page is a file that exports a
// component as default; it is loaded when it is first opened.
import type { ComponentType } from 'preact';
import type { IconName } from '../ui/icons';

export interface PageProps {
  /** what follows the page's own name in the address */
  path: string[];
}

export interface PageEntry {
  name: string; // first segment of the address
  title: string;
  icon: IconName;
  key: string; // g and this key open it
  load: () => Promise<{ default: ComponentType<PageProps> }>;
}

export const pages: PageEntry[] = [
  { name: 'start', title: 'Start', icon: 'start', key: 's', load: () => import('./start') },
  { name: 'things', title: 'Things', icon: 'things', key: 't', load: () => import('./things') },
  { name: 'client', title: 'Test client', icon: 'client', key: 'm', load: () => import('./client') },
  { name: 'policies', title: 'Policies', icon: 'policies', key: 'p', load: () => import('./policies') },
  { name: 'rules', title: 'Rules', icon: 'rules', key: 'r', load: () => import('./rules') },
  { name: 'data', title: 'Data', icon: 'chart', key: 'd', load: () => import('./data') },
  { name: 'provisioning', title: 'Provisioning', icon: 'key', key: 'v', load: () => import('./provisioning') },
  { name: 'jobs', title: 'Jobs', icon: 'jobs', key: 'j', load: () => import('./jobs') },
  { name: 'fleet', title: 'Fleet', icon: 'fleet', key: 'f', load: () => import('./fleet') },
  { name: 'factory', title: 'Factory', icon: 'factory', key: 'b', load: () => import('./factory') },
  { name: 'activity', title: 'Activity', icon: 'activity', key: 'a', load: () => import('./activity') },
  { name: 'docs', title: 'Documentation', icon: 'book', key: 'h', load: () => import('./docs') },
];
