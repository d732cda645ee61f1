CREATE TABLE `history` (
	`run_id` text NOT NULL,
	`seq` integer NOT NULL,
	`kind` text NOT NULL,
	`path` text NOT NULL,
	`name` text NOT NULL,
	`occurrence` integer NOT NULL,
	`attempt` integer NOT NULL,
	`at` integer NOT NULL,
	`key_id` text,
	`data` blob,
	PRIMARY KEY(`run_id`, `seq`)
) WITHOUT ROWID;
--> statement-breakpoint
CREATE TABLE `meta` (
	`key` text PRIMARY KEY NOT NULL,
	`value` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `runs` (
	`id` text PRIMARY KEY NOT NULL,
	`agent` text NOT NULL,
	`version` text,
	`status` text NOT NULL,
	`durability` text NOT NULL,
	`input_key_id` text,
	`input` blob,
	`result_key_id` text,
	`output` blob,
	`error` blob,
	`parent` text,
	`idempotency_key` text,
	`fingerprint` blob,
	`created_at` integer NOT NULL,
	`started_at` integer,
	`ended_at` integer,
	`wake_at` integer
);
--> statement-breakpoint
CREATE UNIQUE INDEX `runs_idempotency_key` ON `runs` (`idempotency_key`);--> statement-breakpoint
CREATE INDEX `runs_status` ON `runs` (`status`,`id`);--> statement-breakpoint
CREATE INDEX `runs_agent_status` ON `runs` (`agent`,`status`,`id`);--> statement-breakpoint
CREATE INDEX `runs_agent` ON `runs` (`agent`,`id`);--> statement-breakpoint
CREATE INDEX `runs_wake` ON `runs` (`wake_at`) WHERE wake_at IS NOT NULL;--> statement-breakpoint
CREATE TABLE `signals` (
	`id` text PRIMARY KEY NOT NULL,
	`run_id` text NOT NULL,
	`name` text NOT NULL,
	`idempotency_key` text,
	`key_id` text,
	`payload` blob,
	`at` integer NOT NULL,
	`taken_by_seq` integer
);
--> statement-breakpoint
CREATE UNIQUE INDEX `signals_idempotency_key` ON `signals` (`run_id`,`idempotency_key`);--> statement-breakpoint
CREATE INDEX `signals_inbox` ON `signals` (`run_id`,`id`) WHERE taken_by_seq IS NULL;