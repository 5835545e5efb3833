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
  { name: 'provisioning', title: 'Provisioning', icon: 'key', key: 'v', load: () => import('./provisioning') },
  { name: 'factory', title: 'Factory', icon: 'factory', key: 'f', load: () => import('./factory') },
  { name: 'activity', title: 'Activity', icon: 'activity', key: 'a', load: () => import('./activity') },
];
