DROP INDEX `runs_idempotency_key`;--> statement-breakpoint
CREATE UNIQUE INDEX `runs_idempotency_key` ON `runs` (`idempotency_key`) WHERE idempotency_key IS NOT NULL;--> statement-breakpoint
CREATE TABLE `history_in_order` (
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
);
--> statement-breakpoint
INSERT INTO `history_in_order` (`run_id`, `seq`, `kind`, `path`, `name`, `occurrence`, `attempt`, `at`, `key_id`, `data`)
SELECT `run_id`, `seq`, `kind`, `path`, `name`, `occurrence`, `attempt`, `at`, `key_id`, `data` FROM `history` ORDER BY `run_id`, `seq`;--> statement-breakpoint
DROP TABLE `history`;--> statement-breakpoint
ALTER TABLE `history_in_order` RENAME TO `history`;
