; The language, or the heart of it, interpreted by itself: a program in a program in a program.

(define (lookup name environment)
  (let ((found (assq name environment)))
    (if found
        (unbox (cdr found))
        (let ((global (assq name globals)))
          (if global (unbox (cdr global)) (error "no such variable:" name))))))

(define (evaluate x environment)
  (cond ((symbol? x) (lookup x environment))
        ((not (pair? x)) x)
        ((eq? (car x) 'quote) (cadr x))
        ((eq? (car x) 'if)
         (if (evaluate (cadr x) environment)
             (evaluate (caddr x) environment)
             (evaluate (car (cdddr x)) environment)))
        ((eq? (car x) 'lambda)
         (lambda arguments
           (evaluate-all (cddr x) (bind (cadr x) arguments environment))))
        ((eq? (car x) 'define)
         (let ((cell (box #f)))
           (set! globals (cons (cons (cadr x) cell) globals))
           (set-box! cell (evaluate (caddr x) environment))))
        ((eq? (car x) 'set!)
         (set-box! (cdr (assq (cadr x) environment)) (evaluate (caddr x) environment)))
        (else
         (apply (evaluate (car x) environment)
                (map (lambda (argument) (evaluate argument environment)) (cdr x))))))

(define (evaluate-all body environment)
  (if (null? (cdr body))
      (evaluate (car body) environment)
      (begin (evaluate (car body) environment)
             (evaluate-all (cdr body) environment))))

(define (bind names values environment)
  (cond ((null? names) environment)
        ((symbol? names) (cons (cons names (box values)) environment))
        (else (cons (cons (car names) (box (car values)))
                    (bind (cdr names) (cdr values) environment)))))

(define globals
  (map (lambda (pair) (cons (car pair) (box (cdr pair))))
       `((+ . ,+) (- . ,-) (* . ,*) (= . ,=) (< . ,<)
         (car . ,car) (cdr . ,cdr) (cons . ,cons) (list . ,list)
         (null? . ,null?) (eq? . ,eq?) (print . ,print))))

(define program
  "(define fib (lambda (n) (if (< n 2) n (+ (fib (- n 1)) (fib (- n 2))))))
   (define map (lambda (f l) (if (null? l) (quote ()) (cons (f (car l)) (map f (cdr l))))))
   (define compose (lambda fs
     (if (null? fs)
         (lambda (x) x)
         (lambda (x) ((car fs) ((compose* (cdr fs)) x))))))
   (define compose* (lambda (fs) (if (null? fs) (lambda (x) x)
     (lambda (x) ((car fs) ((compose* (cdr fs)) x))))))
   (define counter (lambda (n) (lambda () (set! n (+ n 1)) n)))
   (define c (counter 10))
   (c) (c)
   (print (map fib (list 1 2 3 4 5 6 7 8)))
   (print ((compose (lambda (x) (* x x)) (lambda (x) (+ x 1))) 5))
   (print (c))
   (define loop (lambda (n) (if (= n 0) (quote done) (loop (- n 1)))))
   (print (loop 30))")

(define (run text)
  (for-each (lambda (form) (evaluate form '()))
            (read-string (string-append "(" text ")"))))

(run program)
