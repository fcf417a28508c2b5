-- The listings table, published to Realtime. Plain SQL for PostgreSQL 16 to 18: the same file runs
-- under `supabase start`, on a hosted project and in the sandbox of `bridge dev`.

create table public.properties (
  id uuid primary key default gen_random_uuid(),
  name text not null,
  address text,
  city text,
  state text,
  price bigint check (price >= 0),
  units integer check (units > 0),
  status text not null default 'available'
    check (status in ('available', 'pending', 'sold')),
  latitude double precision check (latitude between -90 and 90),
  longitude double precision check (longitude between -180 and 180),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default clock_timestamp(),

  -- Internal columns for staff: never granted to browsers, never published by the bridge.
  owner_contact text,
  internal_notes text,
  cap_rate numeric(5, 2),
  amenities jsonb not null default '{}',
  tags text[] not null default '{}'
);

comment on table public.properties is 'Multifamily listings';
comment on column public.properties.updated_at is
  'When the row was last written, by the wall clock: see touch_updated_at()';

-- now() is the start of the transaction, so two transactions that overlap can leave a row with a
-- smaller updated_at than before. The wall clock is read while the row lock is held, so updated_at
-- of a row only increases, and queries for rows newer than a watermark miss no change.
create function public.touch_updated_at() returns trigger
  language plpgsql
  set search_path = ''
as $$
begin
  new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  return new;
end;
$$;

create trigger properties_touch_updated_at
  before update on public.properties
  for each row execute function public.touch_updated_at();

-- Keyset reads of rows changed since a time, and of the rows of a region. (updated_at, id) also
-- serves the query for the newest row.
create index properties_updated_at_id on public.properties (updated_at, id);
create index properties_state_id on public.properties (state, id);

-- New tables are not granted to the API roles by default. Without the grant to service_role
-- Realtime sends the bridge "Error 401: Unauthorized" instead of changes.
grant select, insert, update, delete on public.properties to service_role;
grant select (
  id, name, address, city, state, price, units, status, latitude, longitude,
  created_at, updated_at, amenities, tags
) on public.properties to anon, authenticated;

alter table public.properties enable row level security;

create policy "Everybody may read listings"
  on public.properties for select
  to anon, authenticated
  using (true);

-- Complete old rows in the WAL, for consumers that read it directly.
alter table public.properties replica identity full;

do $$
begin
  if not exists (select from pg_publication where pubname = 'supabase_realtime') then
    create publication supabase_realtime;
  end if;
  if not exists (
    select from pg_publication_tables
    where pubname = 'supabase_realtime' and schemaname = 'public' and tablename = 'properties'
  ) then
    alter publication supabase_realtime add table public.properties;
  end if;
end;
$$;
