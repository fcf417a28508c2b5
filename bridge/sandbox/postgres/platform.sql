-- The state of a Supabase project before its first migration: the parts that migrations, PostgREST
-- and Realtime depend on. Runs once, as supabase_admin, in one transaction.

-- Roles. PostgREST logs in as authenticator and switches to one of the other three per request.
create role anon nologin noinherit;
create role authenticated nologin noinherit;
create role service_role nologin noinherit bypassrls;
create role authenticator login noinherit;
create role postgres login createdb createrole replication bypassrls;
grant anon, authenticated, service_role to authenticator;
grant anon, authenticated, service_role to postgres with admin option;
grant authenticator to postgres;

alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
alter role authenticator set statement_timeout = '8s';

-- The developer connects as postgres, which owns the database but is not a superuser.
alter database postgres owner to postgres;
alter schema public owner to postgres;
grant usage on schema public to anon, authenticated, service_role;
grant pg_monitor, pg_signal_backend, pg_read_all_data to postgres;

-- New tables have no grants: a migration has to grant access, as on hosted projects today.
revoke create on schema public from public;

create schema extensions authorization postgres;
grant usage on schema extensions to anon, authenticated, service_role;
alter database postgres set search_path = "$user", public, extensions;

-- Auth: the functions that policies call, and the columns of the users table that foreign keys need.
create schema auth;
grant usage on schema auth to anon, authenticated, service_role, postgres;

create table auth.users (
  id uuid primary key default gen_random_uuid(),
  email text unique,
  role text default 'authenticated',
  raw_app_meta_data jsonb not null default '{}',
  raw_user_meta_data jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
grant select, insert, update, delete, references on auth.users to postgres;
grant select on auth.users to service_role;

create function auth.jwt() returns jsonb language sql stable as $$
  select nullif(current_setting('request.jwt.claims', true), '')::jsonb
$$;

create function auth.uid() returns uuid language sql stable as $$
  select (auth.jwt() ->> 'sub')::uuid
$$;

create function auth.role() returns text language sql stable as $$
  select auth.jwt() ->> 'role'
$$;

create function auth.email() returns text language sql stable as $$
  select auth.jwt() ->> 'email'
$$;

-- The schema of Realtime; migrations only need the publication.
create schema realtime;
grant usage on schema realtime to anon, authenticated, service_role, postgres;

create publication supabase_realtime;
alter publication supabase_realtime owner to postgres;

-- The records of the Supabase CLI about applied migrations and seeds.
create schema supabase_migrations authorization postgres;
create table supabase_migrations.schema_migrations (
  version text primary key,
  statements text[],
  name text
);
create table supabase_migrations.seed_files (
  path text primary key,
  hash text not null
);
alter table supabase_migrations.schema_migrations owner to postgres;
alter table supabase_migrations.seed_files owner to postgres;
