// Icons as paths on a 24-pixel grid, drawn for this console.
const paths = {
  start: 'M4 11.5 12 5l8 6.5M6.5 10v9h11v-9M10 19v-5h4v5',
  things: 'M7 7h10v10H7zM10 3v4M14 3v4M10 17v4M14 17v4M3 10h4M3 14h4M17 10h4M17 14h4',
  client: 'M4 6h16v10H9l-5 4zM8 10h8M8 13h5',
  policies: 'M12 3l7 3v5c0 4.5-3 8-7 10-4-2-7-5.5-7-10V6zM9 12l2 2 4-4',
  activity: 'M4 6h16M4 12h16M4 18h10M17 18l1.500 1.500L22 16',
  search: 'M10.500 4a6.500 6.500 0 1 0 0 13 6.500 6.500 0 0 0 0-13M15.500 15.500 20 20',
  close: 'M6 6l12 12M18 6 6 18',
  copy: 'M9 9h10v11H9zM15 9V4H5v11h4',
  check: 'M5 12.500l4.500 4.500L19 7',
  download: 'M12 4v11M7.500 10.500 12 15l4.500-4.500M5 20h14',
  plus: 'M12 5v14M5 12h14',
  trash: 'M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13M10.500 11v5M13.500 11v5',
  sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2v2.500M12 19.500V22M2 12h2.500M19.500 12H22M5 5l1.700 1.700M17.300 17.300 19 19M5 19l1.700-1.700M17.300 6.700 19 5',
  moon: 'M20 14.500A8.500 8.500 0 0 1 9.500 4a8.500 8.500 0 1 0 10.500 10.500z',
  auto: 'M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18',
  keyboard: 'M3 7h18v10H3zM7 11h.01M11 11h.01M15 11h.01M8 14h8',
  menu: 'M4 7h16M4 12h16M4 17h16',
  signout: 'M14 4H5v16h9M10 12h11M17.500 8.500 21 12l-3.500 3.500',
  warning: 'M12 4 2.500 20h19zM12 10v4.500M12 17.500v.01',
  bad: 'M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M12 7.500v5.500M12 16.500v.01',
  info: 'M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M12 11v5.500M12 7.500v.01',
  pause: 'M8 5v14M16 5v14',
  play: 'M8 5l11 7-11 7z',
  chevron: 'M9 6l6 6-6 6',
  refresh: 'M19 12a7 7 0 1 1-2.200-5.100M19 4v4h-4',
  columns: 'M4 5h16v14H4zM10 5v14M15 5v14',
  chart: 'M4 4v16h16M8 15l3.500-4 3 2.500L20 8',
  rules: 'M5 5h6v5H5zM13 14h6v5h-6zM8 10v6.500h5',
  jobs: 'M12 4v9M8 9l4 4 4-4M4 14v6h16v-6',
  fleet: 'M4 18V9M9 18V5M14 18v-7M19 18V8',
  factory: 'M4 20V9l5 3V9l5 3V5h6v15z',
  book: 'M12 6c-2-1.500-5-2-8-2v14c3 0 6 .500 8 2 2-1.500 5-2 8-2V4c-3 0-6 .500-8 2zM12 6v14',
  key: 'M15 4a5 5 0 1 0 0 10 5 5 0 0 0 0-10M11.200 12.500 4 20M7 17l2 2',
};

export type IconName = keyof typeof paths;

export function Icon({ name, size = 20 }: { name: IconName; size?: number }) {
  return (
    <svg class="icon" width={size} height={size} viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.75" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      <path d={paths[name]} />
    </svg>
  );
}
