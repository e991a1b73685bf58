; Words of a text, counted in a table; strings, characters, tables.

(define text
  "the collector of the heap marks what the program can reach and sweeps
   the rest of the heap while the program goes on with the rest of its work")

(define (space? c) (memq c '(#\space #\newline #\tab)))

(define (words text)
  (let loop ((chars (string->list text)) (word '()) (done '()))
    (define (finish)
      (if (null? word) done (cons (list->string (reverse word)) done)))
    (cond ((null? chars) (reverse (finish)))
          ((space? (car chars)) (loop (cdr chars) '() (finish)))
          (else (loop (cdr chars) (cons (car chars) word) done)))))

(define counts (make-table))
(for-each (lambda (word) (table-set! counts word (+ 1 (table-ref counts word 0))))
          (words text))

(define (more-often? a b)
  (let ((x (table-ref counts a)) (y (table-ref counts b)))
    (or (> x y) (and (= x y) (string<? a b)))))

(print (length (words text)) " words, " (table-count counts) " different")
(for-each (lambda (word) (print "  " word " " (table-ref counts word)))
          (filter (lambda (word) (> (table-ref counts word) 1))
                  (sort (table-keys counts) more-often?)))

; A table that grows and shrinks.
(define squares (make-table))
(do ((n 0 (+ n 1))) ((= n 200)) (table-set! squares n (* n n)))
(do ((n 0 (+ n 3))) ((> n 199)) (table-delete! squares n))
(print (table-count squares) " " (table-ref squares 100) " " (table-ref squares 99))

(print (map (lambda (s) (string->symbol (string-append s "?"))) '("a" "b")))
(write (list "quoted \"text\"" #\a #\space 'symbol (vector 1 '(2 . 3)) (number->string -12)))
(newline)
(print (string-join (map symbol->string '(to be or not)) "-") " " (substring "collector" 3 6))
